"""The one interceptor: who calls and whether they may, a request's id, and a status for whatever is raised inside."""

from __future__ import annotations

import logging
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import aclosing, asynccontextmanager, contextmanager
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any, cast

import grpc
from google.protobuf.message import DecodeError, Message
from grpc_status import rpc_status

from adapterhub.client.statuses import to_status
from adapterhub.errors import InvalidInputError
from adapterhub_server.access import HEALTH, Access
from adapterhub_server.caller import CALLER

log = logging.getLogger(__name__)

Context = grpc.aio.ServicerContext[Any, Any]
if TYPE_CHECKING:
    Handler = grpc.RpcMethodHandler[Any, Any]  # generic in its type stubs only

REQUEST_ID: ContextVar[str] = ContextVar("adapterhub-request-id", default="")
"""Of the request under way; in its errors and in the log."""


class Door(grpc.aio.ServerInterceptor):
    """Wraps every method but health's. Messages are decoded in here: a malformed one is answered like the rest."""

    def __init__(self, access: Access) -> None:
        self._access = access

    async def intercept_service(
        self,
        continuation: Callable[[grpc.HandlerCallDetails], Awaitable[Handler | None]],
        handler_call_details: grpc.HandlerCallDetails,
    ) -> Handler | None:
        inner: Any = await continuation(handler_call_details)
        method = handler_call_details.method
        if inner is None or method.startswith(HEALTH):
            return cast("Handler | None", inner)
        decode, encode = inner.request_deserializer, inner.response_serializer

        async def unary(message: bytes, context: Context) -> Message:
            async with self._inside(method, context):
                answer: Message = await inner.unary_unary(_decoded(decode, message), context)
                return answer

        async def stream(message: bytes, context: Context) -> AsyncIterator[Message]:
            async with (
                self._inside(method, context),
                aclosing(inner.unary_stream(_decoded(decode, message), context)) as answers,
            ):
                async for answer in answers:
                    yield answer

        async def both(messages: AsyncIterator[Message], context: Context) -> AsyncIterator[Message]:
            async with self._inside(method, context), aclosing(inner.stream_stream(messages, context)) as answers:
                async for answer in answers:
                    yield answer

        if inner.request_streaming:  # reflection alone
            return grpc.stream_stream_rpc_method_handler(both, decode, encode)
        if inner.response_streaming:
            return grpc.unary_stream_rpc_method_handler(stream, None, encode)
        return grpc.unary_unary_rpc_method_handler(unary, None, encode)

    @asynccontextmanager
    async def _inside(self, method: str, context: Context) -> AsyncIterator[None]:
        """Lets in who may, and ends the call with the status of what is raised inside."""
        request_id = uuid.uuid4().hex
        try:
            with self._admitted(method, context, request_id):
                yield
        except Exception as error:
            status = to_status(error, request_id=request_id)
            if status.code == grpc.StatusCode.INTERNAL.value[0]:
                log.error("%s: request %s failed", method, request_id, exc_info=error)
            rich = rpc_status.to_status(status)
            await context.abort(rich.code, rich.details, rich.trailing_metadata)

    @contextmanager
    def _admitted(self, method: str, context: Context, request_id: str) -> Iterator[None]:
        metadata = {key: value for key, value in context.invocation_metadata() or () if isinstance(value, str)}
        caller = self._access.caller(method, metadata)
        with self._access.call(caller.key or _address(context)):
            REQUEST_ID.set(request_id)
            CALLER.set(caller)  # of this call's own context, which ends with it
            yield


def _address(context: Context) -> str:
    """The client's, without its port."""
    return context.peer().rpartition(":")[0]


def _decoded(decode: Callable[[bytes], Message], message: bytes) -> Message:
    try:
        return decode(message)
    except DecodeError:
        raise InvalidInputError("the request is not a message of this method") from None
