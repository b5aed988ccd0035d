"""A channel to a server: in the clear or by TLS, and the API key of its calls."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import grpc

from adapterhub.errors import ConfigError


class Tls(NamedTuple):
    """PEM files of one end of a connection."""

    ca: Path | None = None
    """Of the server's certificate; the system's own when absent."""
    certificate: Path | None = None
    """The client's, where the server asks for one, with its `key`."""
    key: Path | None = None


def authorization(api_key: str) -> tuple[tuple[str, str], ...]:
    """The metadata of every call, over TLS or not."""
    return (("authorization", f"Bearer {api_key}"),) if api_key else ()


def connect(address: str, tls: Tls | None = None) -> grpc.Channel:
    """A channel, connected on first use. Raises ConfigError naming the file that cannot be read."""
    return grpc.secure_channel(address, _credentials(tls)) if tls else grpc.insecure_channel(address)


def connect_aio(address: str, tls: Tls | None = None) -> grpc.aio.Channel:
    """As `connect`, for the running event loop."""
    return grpc.aio.secure_channel(address, _credentials(tls)) if tls else grpc.aio.insecure_channel(address)


def _credentials(tls: Tls) -> grpc.ChannelCredentials:
    """Raises ConfigError naming the file that cannot be read."""
    ca, certificate, key = (None if path is None else _read(path) for path in tls)
    return grpc.ssl_channel_credentials(ca, key, certificate)


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise ConfigError(f"{path}: {error.strerror}", field="tls") from None
