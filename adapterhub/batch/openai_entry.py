"""Lines as OpenAI's batch API has them.

    {"custom_id": "a-1", "method": "POST", "url": "/v1/chat/completions", "body": {"model": "team/orders", ...}}

Results have ids and times that follow from the input alone, so that the same batch has the same bytes.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from adapterhub.asking import Question
from adapterhub.batch.answer import Answer
from adapterhub.batch.entry import TokenText
from adapterhub.batch.openai_body import CHAT, COMPLETIONS, question_of
from adapterhub.errors import (
    AdapterHubError,
    ConflictError,
    ForbiddenError,
    IntegrityError,
    InvalidInputError,
    NotFoundError,
)

KEYS = frozenset({"custom_id", "method", "url", "body"})
URLS = (CHAT, COMPLETIONS)
STATUSES: dict[type[AdapterHubError], int] = {
    InvalidInputError: 400,
    ForbiddenError: 403,
    NotFoundError: 404,
    ConflictError: 409,
    IntegrityError: 409,
}
"""What HTTP would answer; others are 500."""


@dataclass(frozen=True)
class OpenAIEntry:
    """One of these lines. `created` is in seconds since 1970."""

    number: int
    key: str
    url: str
    question: Question
    created: int

    @classmethod
    def of(cls, number: int, values: Mapping[str, Any], created: int) -> OpenAIEntry:
        """Raises InvalidInputError, as `line N: field: ...`."""
        where = f"line {number}"
        for name in values:
            if name not in KEYS:
                raise _error(where, name, f"unknown (known: {', '.join(sorted(KEYS))})")
        key, url, body = values.get("custom_id"), values.get("url"), values.get("body")
        if not isinstance(key, str) or not key:
            raise _error(where, "custom_id", "text is needed")
        if values.get("method") != "POST":
            raise _error(where, "method", f"{values.get('method')!r} (accepted: POST)")
        if url not in URLS:
            raise _error(where, "url", f"{url!r} (accepted: {', '.join(URLS)})")
        if not isinstance(body, dict):
            raise _error(where, "body", "an object is needed")
        return cls(number, key, url, question_of(url, body, where=f"{where}: body", seed=number), created)

    def answered(self, answer: Answer, token_text: TokenText) -> dict[str, Any]:
        """The body that the API's door would have answered."""
        chat = self.url == CHAT
        choice: dict[str, Any] = {"index": 0}
        if chat:
            choice["message"] = {"role": "assistant", "content": answer.text}
            choice["logprobs"] = _chat_logprobs(answer, token_text) if answer.logprobs else None
        else:
            choice["text"] = answer.text
            choice["logprobs"] = _text_logprobs(answer, token_text) if answer.logprobs else None
        choice["finish_reason"] = answer.finish_reason
        generated = len(answer.token_ids)
        body = {
            "id": f"{'chatcmpl' if chat else 'cmpl'}-{self._hex}",
            "object": "chat.completion" if chat else "text_completion",
            "created": self.created,
            "model": self.question.adapter,
            "choices": [choice],
            "usage": {
                "prompt_tokens": answer.prompt_tokens,
                "completion_tokens": generated,
                "total_tokens": answer.prompt_tokens + generated,
            },
            "adapter_digest": answer.digest,
        }
        return self._result(200, body)

    def failed(self, error: AdapterHubError) -> dict[str, Any]:
        """The error as that door would have answered it."""
        status = next((code for kind, code in STATUSES.items() if isinstance(error, kind)), 500)
        kind = "invalid_request_error" if status < 500 else "server_error"
        field = error.field if isinstance(error, InvalidInputError) else ""
        told = {"message": str(error), "type": kind, "param": field or None, "code": None}
        return self._result(status, {"error": told})

    @property
    def _hex(self) -> str:
        return hashlib.sha256(f"{self.created} {self.number} {self.key}".encode()).hexdigest()[:24]

    def _result(self, status: int, body: dict[str, Any]) -> dict[str, Any]:
        response = {"status_code": status, "request_id": f"req_{self._hex}", "body": body}
        return {"id": f"batch_req_{self._hex}", "custom_id": self.key, "response": response, "error": None}


def _chat_logprobs(answer: Answer, token_text: TokenText) -> dict[str, Any]:
    def told(token: int, logprob: float) -> dict[str, Any]:
        text = token_text(token)
        return {"token": text, "logprob": logprob, "bytes": list(text.encode())}

    pairs = zip(answer.token_ids, answer.logprobs, strict=True)
    return {
        "content": [
            told(token, each.logprob) | {"top_logprobs": [told(*one) for one in each.top]} for token, each in pairs
        ],
        "refusal": None,
    }


def _text_logprobs(answer: Answer, token_text: TokenText) -> dict[str, Any]:
    tokens = [token_text(token) for token in answer.token_ids]
    return {
        "tokens": tokens,
        "token_logprobs": [each.logprob for each in answer.logprobs],
        "top_logprobs": [{token_text(token): logprob for token, logprob in each.top} for each in answer.logprobs],
        "text_offset": [sum(map(len, tokens[:index])) for index in range(len(tokens))],
    }


def _error(where: str, field: str, reason: str) -> InvalidInputError:
    return InvalidInputError(f"{where}: {field}: {reason}", field=field)
