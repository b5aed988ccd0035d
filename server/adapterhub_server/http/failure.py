"""An error as OpenAI's clients know them."""

from __future__ import annotations

import math
from typing import Any, NamedTuple

from adapterhub.client.statuses import row_of, to_status
from adapterhub.errors import AdapterNotFoundError, InvalidInputError, NotFoundError, QueueFullError
from adapterhub_server.http.line import BodyTooLargeError

TYPES = {
    400: "invalid_request_error",
    401: "authentication_error",
    403: "permission_error",
    404: "not_found_error",
    405: "invalid_request_error",
    409: "conflict_error",
    413: "invalid_request_error",
    422: "unprocessable_entity_error",
    429: "rate_limit_error",
    503: "service_unavailable_error",
}
"""By HTTP status; the others' is `server_error`."""

FIELDS = {
    "adapter": "model",
    "task": "model",
    "text": "prompt",
    "token_ids": "prompt",
    "sampling.max_new_tokens": "max_tokens",
}
"""Our fields by the names that they have here, where they have others."""


class Failure(NamedTuple):
    """The answer to a request that failed."""

    status: int
    headers: dict[str, str]
    body: dict[str, Any]

    @classmethod
    def of(cls, error: Exception, request_id: str) -> Failure:
        """By the table of statuses; of a fault of ours nothing is told but the request's id."""
        row = row_of(type(error))
        status = 413 if isinstance(error, BodyTooLargeError) else row.http
        headers = {"x-should-retry": "false"} if status == 409 else {}  # the official client would, in vain
        if isinstance(error, QueueFullError):
            milliseconds = math.ceil(error.retry_after * 1000)
            headers = {"retry-after": str(math.ceil(error.retry_after)), "retry-after-ms": str(milliseconds)}
        code = "model_not_found" if isinstance(error, AdapterNotFoundError) else row.reason.lower()
        message = to_status(error, request_id=request_id).message.removeprefix("sampling: ")
        return cls(status, headers, error_body(status, message, code, _param(error)))


def error_body(status: int, message: str, code: str, param: str | None = None) -> dict[str, Any]:
    """OpenAI's error object."""
    kind = TYPES.get(status, "server_error")
    return {"error": {"message": message, "type": kind, "param": param, "code": code}}


def _param(error: Exception) -> str | None:
    if isinstance(error, NotFoundError):
        return "model"
    if not isinstance(error, InvalidInputError) or not error.field:
        return None
    name = error.field
    if name.startswith("chat.turns"):
        return name.replace("chat.turns", "messages", 1)
    return FIELDS.get(name, name.removeprefix("sampling.").removeprefix("chat."))
