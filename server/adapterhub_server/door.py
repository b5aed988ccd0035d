"""The one interceptor of gRPC: lets in who may, and gives whatever is raised inside its status."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import aclosing, asynccontextmanager
from typing import TYPE_CHECKING, Any, cast

import grpc
from google.protobuf.message import DecodeError, Message
from grpc_status import rpc_status

from adapterhub.client.statuses import to_status
from adapterhub.errors import InvalidInputError
from adapterhub_server.access import HEALTH
from adapterhub_server.call import REQUEST_ID, Call
from adapterhub_server.calls import Calls

Context = grpc.aio.ServicerContext[Any, Any]
if TYPE_CHECKING:
    Handler = grpc.RpcMethodHandler[Any, Any]  # generic in its type stubs only


class Door(grpc.aio.ServerInterceptor):
    """Wraps every method but health's. Messages are decoded in here: a malformed one is answered like the rest."""

    def __init__(self, calls: Calls) -> None:
        self._calls = calls

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
        metadata = {key: value for key, value in context.invocation_metadata() or () if isinstance(value, str)}
        call = Call.begin(method, _address(context), metadata)
        told = ((REQUEST_ID, call.request_id),)
        context.set_trailing_metadata(told)
        try:
            with self._calls.inside(method, call, metadata, context.time_remaining):
                yield
        except Exception as error:  # noqa: BLE001  each has a status
            rich = rpc_status.to_status(to_status(error, request_id=call.request_id))
            await context.abort(rich.code, rich.details, (*rich.trailing_metadata, *told))


def _address(context: Context) -> str:
    """The client's, without its port."""
    return context.peer().rpartition(":")[0]


def _decoded(decode: Callable[[bytes], Message], message: bytes) -> Message:
    try:
        return decode(message)
    except DecodeError:
        raise InvalidInputError("the request is not a message of this method") from None
