"""Our answers as OpenAI's completions."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from typing import Any, NamedTuple

from adapterhub.pb.v1 import inference_pb2
from adapterhub_server.http.heading import FINISH_REASONS, Heading, choices, ids_of, own_facts, usage
from adapterhub_server.http.token_texts import TokenTexts

KIND = "text_completion"


class Echo(NamedTuple):
    """A prompt that is given back."""

    text: str
    token_ids: Sequence[int] = ()
    """Where its log-probabilities are told."""


def whole(
    heading: Heading,
    answers: Sequence[inference_pb2.GenerateResponse],
    texts: TokenTexts,
    echoes: Sequence[Echo] | None = None,
    *,
    token_ids: bool = False,
) -> dict[str, Any]:
    """The whole answers to all prompts, one prompt's after another's; what only we tell is the first one's."""
    told: list[dict[str, Any]] = []
    for answer, echo in zip(answers, echoes or [Echo("")] * len(answers), strict=True):
        front = [None, *answer.prompt_logprobs] if echo.token_ids else []
        for choice in choices(answer):
            logprobs = texts.of_completion([*echo.token_ids, *choice.token_ids], [*front, *choice.logprobs])
            told.append(
                {
                    "index": len(told),
                    "text": echo.text + choice.text,
                    "logprobs": logprobs,
                    "finish_reason": FINISH_REASONS[choice.finish_reason],
                    **ids_of(choice, token_ids),
                }
            )
    took = usage(
        sum(answer.usage.prompt_tokens for answer in answers), sum(answer.usage.generated_tokens for answer in answers)
    )
    return {**heading.over(KIND, told), "usage": took, "adapterhub": own_facts(answers[0], answers[0], texts)}


async def events(
    heading: Heading,
    pieces: AsyncGenerator[tuple[int, inference_pb2.GenerateStreamResponse]],
    texts: TokenTexts,
    *,
    n: int,
    include_usage: bool,
    token_ids: bool = False,
) -> AsyncGenerator[dict[str, Any]]:
    """The answers as they come; each prompt has `n`. The last event of each prompt tells what only we do."""
    first: dict[int, inference_pb2.GenerateStreamResponse] = {}
    offsets: defaultdict[int, int] = defaultdict(int)
    took = [0, 0]
    async with aclosing(pieces):
        async for prompt, piece in pieces:
            first.setdefault(prompt, piece)
            index = prompt * n + piece.choice
            logprobs = texts.of_completion(piece.token_ids, piece.logprobs, offsets[index])
            if logprobs is not None:
                offsets[index] += sum(map(len, logprobs["tokens"]))
            choice = {
                "index": index,
                "text": piece.text,
                "logprobs": logprobs,
                "finish_reason": FINISH_REASONS.get(piece.finish_reason),
                **ids_of(piece, token_ids),
            }
            event = heading.over(KIND, [choice])
            if piece.HasField("usage"):
                took[0] += piece.usage.prompt_tokens
                took[1] += piece.usage.generated_tokens
                event["adapterhub"] = own_facts(first[prompt], piece, texts)
            yield event
    if include_usage:
        yield {**heading.over(KIND, []), "usage": usage(*took)}
