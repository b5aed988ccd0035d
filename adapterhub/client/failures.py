"""What a call raised, as an error of the project's tree. The same for both clients."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import grpc
from google.rpc.status_pb2 import Status
from grpc_status import rpc_status

from adapterhub.client.statuses import from_status
from adapterhub.errors import AdapterHubError, UnavailableError


@contextmanager
def told(address: str) -> Iterator[None]:
    """Raises what a call to the server at `address` raised as an error of the tree."""
    try:
        yield
    except grpc.RpcError as error:
        raise _error(error, address) from None


def _error(call: Any, address: str) -> AdapterHubError:
    """`call` has code, details and trailing metadata, though grpc.RpcError itself does not say so."""
    try:
        status = rpc_status.from_call(call)
    except ValueError:  # details of another status than the call's
        status = None
    if status is not None:
        return from_status(status)
    if call.code() is grpc.StatusCode.UNAVAILABLE:
        return UnavailableError(f"no server at {address}; is it running? start one: adapterhub serve")
    if call.code() is grpc.StatusCode.DEADLINE_EXCEEDED:
        return UnavailableError(f"no answer from {address} in time")
    return from_status(Status(code=call.code().value[0], message=f"{call.code().name}: {call.details()}"))
