"""The one interceptor: who calls and whether they may, a status for whatever is raised inside, and who is told."""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Iterator
from contextlib import aclosing, asynccontextmanager, contextmanager
from typing import TYPE_CHECKING, Any, cast

import grpc
from google.protobuf.message import DecodeError, Message
from grpc_status import rpc_status

from adapterhub.client.statuses import row_of, to_status
from adapterhub.errors import InvalidInputError
from adapterhub_server.access import HEALTH, Access
from adapterhub_server.call import CALL, REQUEST_ID, Call
from adapterhub_server.caller import CALLER

log = logging.getLogger(__name__)

Context = grpc.aio.ServicerContext[Any, Any]
if TYPE_CHECKING:
    Handler = grpc.RpcMethodHandler[Any, Any]  # generic in its type stubs only

Observer = Callable[[Call], None]
"""Is told of each call when it has ended. Quick, and never raises."""


class Door(grpc.aio.ServerInterceptor):
    """Wraps every method but health's. Messages are decoded in here: a malformed one is answered like the rest."""

    def __init__(self, access: Access, observers: Iterable[Observer] = ()) -> None:
        self._access = access
        self._observers = tuple(observers)

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

        async def both(messages: AsyncIterator[bytes], context: Context) -> AsyncIterator[Message]:
            each = _each_decoded(decode, messages)
            async with self._inside(method, context), aclosing(inner.stream_stream(each, context)) as answers:
                async for answer in answers:
                    yield answer

        if inner.request_streaming:
            return grpc.stream_stream_rpc_method_handler(both, None, encode)
        if inner.response_streaming:
            return grpc.unary_stream_rpc_method_handler(stream, None, encode)
        return grpc.unary_unary_rpc_method_handler(unary, None, encode)

    @asynccontextmanager
    async def part(self, context: Context) -> AsyncIterator[None]:
        """One of several requests that came in the call under way; in a task of its own, so that it has its own CALL.

        It is let in, limited, logged and counted as a call, beside the one it came in. Raises what is raised inside;
        AuthError and ForbiddenError when the key is not what it was; QueueFullError.
        """
        call = CALL.get().part()
        async with self._told(call, _metadata(context), context):
            yield

    @asynccontextmanager
    async def _inside(self, method: str, context: Context) -> AsyncIterator[None]:
        """Lets in who may, and ends the call with the status of what is raised inside."""
        metadata = _metadata(context)
        call = Call.begin(method, _address(context), metadata)
        told = ((REQUEST_ID, call.request_id),)
        context.set_trailing_metadata(told)
        try:
            async with self._told(call, metadata, context):
                yield
        except Exception as error:  # noqa: BLE001  whatever it is, it is answered with a status
            rich = rpc_status.to_status(to_status(error, request_id=call.request_id))
            await context.abort(rich.code, rich.details, (*rich.trailing_metadata, *told))

    @asynccontextmanager
    async def _told(self, call: Call, metadata: dict[str, str], context: Context) -> AsyncIterator[None]:
        """Lets in who may, and tells the observers how it ended before whoever asked learns it."""
        try:
            with self._admitted(call, metadata):
                yield
        except Exception as error:
            call.failed(row_of(type(error)))
            if call.is_internal:
                log.error("%s: request %s failed", call.path, call.request_id, exc_info=error)
            self._end(call)
            raise
        except BaseException:  # the call was cancelled, however that arrives here
            call.broken_off(context.time_remaining())
            self._end(call)
            raise
        else:
            self._end(call)

    @contextmanager
    def _admitted(self, call: Call, metadata: dict[str, str]) -> Iterator[None]:
        caller = self._access.caller(call.path, metadata)
        call.let_in(caller)
        with self._access.call(caller.key or call.peer):
            CALL.set(call)  # of this call's own context, which ends with it
            CALLER.set(caller)
            yield

    def _end(self, call: Call) -> None:
        for observer in self._observers:
            observer(call)


def _metadata(context: Context) -> dict[str, str]:
    return {key: value for key, value in context.invocation_metadata() or () if isinstance(value, str)}


def _address(context: Context) -> str:
    """The client's, without its port."""
    return context.peer().rpartition(":")[0]


async def _each_decoded(decode: Callable[[bytes], Message], messages: AsyncIterator[bytes]) -> AsyncIterator[Message]:
    async for message in messages:
        yield _decoded(decode, message)


def _decoded(decode: Callable[[bytes], Message], message: bytes) -> Message:
    try:
        return decode(message)
    except DecodeError:
        raise InvalidInputError("the request is not a message of this method") from None
