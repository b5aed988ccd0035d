"""How the exception tree crosses the wire: one table, read by the server's doors and by the client.

A status carries the error's text and google.rpc details: ErrorInfo always, with the reason of the
table; BadRequest where a field is named, ResourceInfo where something is not there, RetryInfo
where trying again later helps.
"""

from __future__ import annotations

from typing import NamedTuple

import grpc
from google.protobuf.duration_pb2 import Duration
from google.rpc.error_details_pb2 import BadRequest, ErrorInfo, ResourceInfo, RetryInfo
from google.rpc.status_pb2 import Status

from adapterhub.client.public_text import public_text
from adapterhub.errors import (
    AdapterHubError,
    AdapterNotFoundError,
    AuthError,
    BaseMismatchError,
    ConfigError,
    ConflictError,
    CorruptAdapterError,
    EngineStoppedError,
    ForbiddenError,
    IntegrityError,
    InvalidInputError,
    NotFoundError,
    QueueFullError,
    RefError,
    RouterError,
    UnavailableError,
    UnsupportedAdapterError,
    UnsupportedBaseError,
)

DOMAIN = "adapterhub"
MAX_MESSAGE_BYTES = 1024
"""In UTF-8. It stands three times in a status, once with its bytes spelled out."""


class Row(NamedTuple):
    """One class of errors as a status."""

    error: type[AdapterHubError]
    code: grpc.StatusCode
    reason: str
    http: int
    """The status of the HTTP door's answer."""


STATUSES = (
    Row(ConfigError, grpc.StatusCode.INVALID_ARGUMENT, "INVALID_SETTING", 400),
    Row(RefError, grpc.StatusCode.INVALID_ARGUMENT, "INVALID_REF", 400),
    Row(InvalidInputError, grpc.StatusCode.INVALID_ARGUMENT, "INVALID_INPUT", 400),
    Row(AdapterNotFoundError, grpc.StatusCode.NOT_FOUND, "ADAPTER_NOT_FOUND", 404),
    Row(NotFoundError, grpc.StatusCode.NOT_FOUND, "NOT_FOUND", 404),
    Row(ForbiddenError, grpc.StatusCode.PERMISSION_DENIED, "FORBIDDEN", 403),
    Row(AuthError, grpc.StatusCode.UNAUTHENTICATED, "NOT_ALLOWED", 401),
    Row(ConflictError, grpc.StatusCode.FAILED_PRECONDITION, "CONFLICT", 409),
    Row(QueueFullError, grpc.StatusCode.RESOURCE_EXHAUSTED, "QUEUE_FULL", 429),
    Row(EngineStoppedError, grpc.StatusCode.UNAVAILABLE, "ENGINE_STOPPED", 503),
    Row(UnavailableError, grpc.StatusCode.UNAVAILABLE, "UNAVAILABLE", 503),
    Row(CorruptAdapterError, grpc.StatusCode.FAILED_PRECONDITION, "CORRUPT_ADAPTER", 422),
    Row(UnsupportedAdapterError, grpc.StatusCode.FAILED_PRECONDITION, "UNSUPPORTED_ADAPTER", 422),
    Row(UnsupportedBaseError, grpc.StatusCode.FAILED_PRECONDITION, "UNSUPPORTED_BASE", 422),
    Row(BaseMismatchError, grpc.StatusCode.FAILED_PRECONDITION, "BASE_MISMATCH", 422),
    Row(IntegrityError, grpc.StatusCode.FAILED_PRECONDITION, "NOT_SERVABLE", 422),
    Row(RouterError, grpc.StatusCode.INTERNAL, "ROUTER_FAILED", 500),
)
"""A class stands before its parents: the first row that fits is taken. What fits none is INTERNAL."""
INTERNAL = Row(AdapterHubError, grpc.StatusCode.INTERNAL, "INTERNAL", 500)
REFUSED = (grpc.StatusCode.UNAUTHENTICATED.value[0], grpc.StatusCode.PERMISSION_DENIED.value[0])
"""Codes that mean AuthError whoever sent them: what stands in front of a server gives no reason of the table."""


def row_of(error: type[Exception]) -> Row:
    """The row of a class of errors; INTERNAL when it is not in the table."""
    return next((row for row in STATUSES if issubclass(error, row.error)), INTERNAL)


def to_status(error: Exception, *, request_id: str) -> Status:
    """The status of an error, which is INTERNAL and tells nothing but the request's id when it is not in the table."""
    row = row_of(type(error))
    hidden = f"internal error; the server's log has it under request {request_id}"
    message = _short(public_text(error)) if isinstance(error, AdapterHubError) and row is not INTERNAL else hidden
    status = Status(code=row.code.value[0], message=message)
    status.details.add().Pack(ErrorInfo(reason=row.reason, domain=DOMAIN, metadata={"request_id": request_id}))
    if isinstance(error, InvalidInputError) and error.field:
        violation = BadRequest.FieldViolation(field=error.field, description=message)
        status.details.add().Pack(BadRequest(field_violations=[violation]))
    if isinstance(error, NotFoundError) and error.resource:
        status.details.add().Pack(ResourceInfo(resource_name=_short(error.resource)))
    if isinstance(error, QueueFullError):
        delay = Duration()
        delay.FromNanoseconds(round(error.retry_after * 1e9))
        status.details.add().Pack(RetryInfo(retry_delay=delay))
    return status


def _short(text: str) -> str:
    """`text`, cut where it would not go through: a status travels in headers, of which a client takes 8 KiB."""
    whole = text.encode()
    if len(whole) <= MAX_MESSAGE_BYTES:
        return text
    return whole[:MAX_MESSAGE_BYTES].decode(errors="ignore") + " ..."


def from_status(status: Status) -> AdapterHubError:
    """The error a status stands for, with the server's text; AdapterHubError or AuthError when it is none of ours."""
    info, bad_request, resource, retry = ErrorInfo(), BadRequest(), ResourceInfo(), RetryInfo()
    for detail in status.details:
        for message in (info, bad_request, resource, retry):
            detail.Unpack(message)
    other = AuthError if status.code in REFUSED else AdapterHubError
    error = next((row.error for row in STATUSES if (DOMAIN, row.reason) == (info.domain, info.reason)), other)
    if issubclass(error, InvalidInputError):
        fields = [violation.field for violation in bad_request.field_violations]
        return error(status.message, field=fields[0] if fields else "")
    if issubclass(error, NotFoundError):
        return error(status.message, resource=resource.resource_name)
    if issubclass(error, QueueFullError):
        return error(status.message, retry_after=retry.retry_delay.ToNanoseconds() / 1e9)
    return error(status.message)
