"""A channel to a server: in the clear or by TLS, with an API key or without."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import grpc

from adapterhub.errors import ConfigError


class Tls(NamedTuple):
    """PEM files of one end of a connection."""

    ca: Path | None = None
    """Of the server's certificate; the system's own when absent."""
    certificate: Path | None = None
    """The client's, where the server asks for one, with its `key`."""
    key: Path | None = None


class _Details(NamedTuple):
    """What gRPC asks of a call's details, under its names."""

    method: str
    timeout: float | None
    metadata: tuple[tuple[str, str | bytes], ...]
    credentials: Any
    wait_for_ready: bool | None
    compression: Any


class _Authorization(grpc.UnaryUnaryClientInterceptor, grpc.UnaryStreamClientInterceptor):
    """Sends the key with every call, over TLS or not, as the channel is."""

    def __init__(self, api_key: str) -> None:
        self._metadata = (("authorization", f"Bearer {api_key}"),)

    def intercept_unary_unary(self, continuation: Callable[..., Any], details: Any, request: Any) -> Any:
        return continuation(self._with_key(details), request)

    def intercept_unary_stream(self, continuation: Callable[..., Any], details: Any, request: Any) -> Any:
        return continuation(self._with_key(details), request)

    def _with_key(self, details: Any) -> _Details:
        given = {name: getattr(details, name) for name in _Details._fields if name != "metadata"}
        return _Details(**given, metadata=(*(details.metadata or ()), *self._metadata))


def connect(address: str, api_key: str = "", tls: Tls | None = None) -> grpc.Channel:
    """A channel, connected on first use. Raises ConfigError naming the file that cannot be read."""
    secure = tls and channel_credentials(tls)
    channel = grpc.secure_channel(address, secure) if secure else grpc.insecure_channel(address)
    return grpc.intercept_channel(channel, _Authorization(api_key)) if api_key else channel


def channel_credentials(tls: Tls) -> grpc.ChannelCredentials:
    """Raises ConfigError naming the file that cannot be read."""
    ca, certificate, key = (None if path is None else _read(path) for path in tls)
    return grpc.ssl_channel_credentials(ca, key, certificate)


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise ConfigError(f"{path}: {error.strerror}", field="tls") from None
