"""What every object of one answer begins and ends with."""

from __future__ import annotations

import time
from typing import Any, NamedTuple

from google.protobuf.duration_pb2 import Duration

from adapterhub.pb.v1 import inference_pb2
from adapterhub_server.http.token_texts import TokenTexts

FINISH_REASONS = {
    inference_pb2.FINISH_REASON_STOP: "stop",
    inference_pb2.FINISH_REASON_LENGTH: "length",
    inference_pb2.FINISH_REASON_TOOL_CALLS: "tool_calls",
}

Answer = inference_pb2.GenerateResponse | inference_pb2.GenerateStreamResponse
Choice = inference_pb2.GenerateResponse | inference_pb2.Choice
Told = Choice | inference_pb2.GenerateStreamResponse


def choices(answer: inference_pb2.GenerateResponse) -> list[Choice]:
    """Every answer, where there are several and where there is one."""
    return list(answer.choices) or [answer]


class Heading(NamedTuple):
    """Of one answer."""

    id: str
    model: str
    """As it was asked for."""
    created: int
    """Seconds since 1970."""

    @classmethod
    def of(cls, prefix: str, request_id: str, model: str) -> Heading:
        return cls(f"{prefix}-{request_id}", model, int(time.time()))

    def over(self, kind: str, choices: list[dict[str, Any]]) -> dict[str, Any]:
        """An object of that kind."""
        return {"id": self.id, "object": kind, "created": self.created, "model": self.model, "choices": choices}


def ids_of(told: Told, asked: bool) -> dict[str, list[int]]:
    """Its token ids, where they are asked for."""
    return {"token_ids": list(told.token_ids)} if asked else {}


def usage(prompt_tokens: int, generated_tokens: int) -> dict[str, int]:
    """OpenAI's usage object."""
    return {
        "prompt_tokens": prompt_tokens,
        "completion_tokens": generated_tokens,
        "total_tokens": prompt_tokens + generated_tokens,
    }


def own_facts(first: Answer, last: Answer, texts: TokenTexts) -> dict[str, Any]:
    """What only we tell: who answered, by which rule, where the time went, in seconds, which of the engine's steps
    computed it, and how likely the prompt was, where that was asked.
    """
    timings = last.timings
    prompt = {"prompt_logprobs": texts.of_prompt(first.prompt_logprobs)} if first.prompt_logprobs else {}
    return {
        **prompt,
        "adapter": first.adapter,
        "digest": first.adapter_digest,
        "route": {"by": first.route.by, "name": first.route.name, "adapter": first.route.adapter},
        "timings": {
            "before_engine": _seconds(timings.before_engine),
            "first_token": _seconds(timings.first_token),
            "total": _seconds(timings.total),
        },
        "steps": {"first": timings.first_step, "last": timings.last_step, "count": timings.steps},
    }


def _seconds(duration: Duration) -> float:
    return duration.ToNanoseconds() / 1e9
