"""Turns whatever a servicer raises into a status, for unary calls and streams alike."""

from __future__ import annotations

import logging
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import aclosing, asynccontextmanager
from typing import TYPE_CHECKING, Any, cast

import grpc
from google.protobuf.message import DecodeError, Message
from grpc_status import rpc_status

from adapterhub.client.statuses import to_status
from adapterhub.errors import InvalidInputError

log = logging.getLogger(__name__)

Context = grpc.aio.ServicerContext[Any, Any]
if TYPE_CHECKING:
    Handler = grpc.RpcMethodHandler[Any, Any]  # generic in its type stubs only

OURS = "/adapterhub."
"""How the paths of our own methods begin; health and reflection answer for themselves."""


class Errors(grpc.aio.ServerInterceptor):
    """Wraps every method of ours. Messages are decoded in here, so that a malformed one is answered like the rest."""

    async def intercept_service(
        self,
        continuation: Callable[[grpc.HandlerCallDetails], Awaitable[Handler | None]],
        handler_call_details: grpc.HandlerCallDetails,
    ) -> Handler | None:
        inner: Any = await continuation(handler_call_details)
        if inner is None or not handler_call_details.method.startswith(OURS):
            return cast("Handler | None", inner)
        decode, encode, method = inner.request_deserializer, inner.response_serializer, handler_call_details.method

        async def unary(message: bytes, context: Context) -> Message:
            async with _statuses(method, context):
                answer: Message = await inner.unary_unary(_decoded(decode, message), context)
                return answer

        async def stream(message: bytes, context: Context) -> AsyncIterator[Message]:
            async with (
                _statuses(method, context),
                aclosing(inner.unary_stream(_decoded(decode, message), context)) as answers,
            ):
                async for answer in answers:
                    yield answer

        if inner.response_streaming:
            return grpc.unary_stream_rpc_method_handler(stream, None, encode)
        return grpc.unary_unary_rpc_method_handler(unary, None, encode)


@asynccontextmanager
async def _statuses(method: str, context: Context) -> AsyncIterator[None]:
    """Ends the call with the status of what is raised inside."""
    try:
        yield
    except Exception as error:
        request_id = uuid.uuid4().hex
        status = to_status(error, request_id=request_id)
        if status.code == grpc.StatusCode.INTERNAL.value[0]:
            log.error("%s: request %s failed", method, request_id, exc_info=error)
        rich = rpc_status.to_status(status)
        await context.abort(rich.code, rich.details, rich.trailing_metadata)


def _decoded(decode: Callable[[bytes], Message], message: bytes) -> Message:
    try:
        return decode(message)
    except DecodeError:
        raise InvalidInputError("the request is not a message of this method") from None
