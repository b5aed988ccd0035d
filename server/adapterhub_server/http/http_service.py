"""The HTTP server over one engine: its port, its start and its end."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import Generator

import uvicorn

from adapterhub_server.behind import Behind
from adapterhub_server.credentials import CertificateFiles
from adapterhub_server.http.app import http_app
from adapterhub_server.http.line import Lines
from adapterhub_server.http.protocol import Protocol
from adapterhub_server.http.tls import tls_context
from adapterhub_server.ports import cannot_listen

KEEP_ALIVE_SECONDS = 75
"""That a connection may be idle: longer than clients keep one, so that none is closed under a request."""
SILENT_SECONDS = 20
"""After which a client is asked for a sign of life, and again until it is given up."""
LAST_SECONDS = 5.0
"""For answers to be written once their generations were ended."""


class HttpService:
    """The port is bound at once and answered from `start` on, on the event loop that calls it.

    Raises UnavailableError when the port cannot be bound, and ConfigError for certificates that cannot be read.
    """

    def __init__(
        self, host: str, port: int, certificates: CertificateFiles | None = None, *, playground: bool = True
    ) -> None:
        self._tls = tls_context(certificates) if certificates else None
        self._socket = _bind(host, port)
        name = f"[{host}]" if ":" in host else host
        scheme = "https" if certificates else "http"
        root = f"{scheme}://{name}:{self._socket.getsockname()[1]}/"
        self.url = f"{root}v1"
        """What OpenAI's clients take as their base URL."""
        self.page = root if playground else ""
        """Of the playground, where there is one."""
        self._lines = Lines()
        self._server: uvicorn.Server | None = None
        self._serving: asyncio.Task[None] | None = None

    async def start(self, behind: Behind) -> None:
        """Answer."""
        config = uvicorn.Config(
            http_app(behind, self._lines, playground=bool(self.page)),
            http=Protocol,
            lifespan="off",
            log_config=None,
            access_log=False,
            server_header=False,
            proxy_headers=False,  # anybody on this machine could take another's address
            timeout_keep_alive=KEEP_ALIVE_SECONDS,
            ws="none",
        )
        config.load()
        config.ssl = self._tls
        self._server = _Server(config)
        self._serving = asyncio.create_task(self._server.serve(sockets=[self._socket]))
        while not self._server.started:
            await asyncio.sleep(0.01)

    async def stop(self, grace: float) -> None:
        """Take no new connections, and end what still runs after `grace` seconds."""
        if self._server is None or self._serving is None:
            self._socket.close()
            return
        self._server.should_exit = True
        _, running = await asyncio.wait([self._serving], timeout=grace)
        if running:
            self._lines.stop()
            _, running = await asyncio.wait([self._serving], timeout=LAST_SECONDS)
        if running:  # somebody does not read
            self._serving.cancel()
            await asyncio.wait([self._serving])


class _Server(uvicorn.Server):
    """Signals are those of the process, which tells both doors to stop."""

    @contextlib.contextmanager
    def capture_signals(self) -> Generator[None]:
        yield


def _bind(host: str, port: int) -> socket.socket:
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        bound = socket.socket(family, kind, protocol)
        try:
            bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            _drop_the_silent(bound)
            bound.bind(address)
            bound.setblocking(False)
        except OSError:
            bound.close()
            raise
    except OSError as error:
        raise cannot_listen(error, host, port, "--http-port") from None
    return bound


def _drop_the_silent(listening: socket.socket) -> None:
    """Connections, which have these options from the socket they come from, end where the client's machine is gone."""
    listening.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    seconds = {"TCP_KEEPIDLE": SILENT_SECONDS, "TCP_KEEPINTVL": SILENT_SECONDS, "TCP_KEEPCNT": 1}
    for name, value in (seconds | {"TCP_USER_TIMEOUT": 2000 * SILENT_SECONDS}).items():
        if hasattr(socket, name):  # not every system knows all
            listening.setsockopt(socket.IPPROTO_TCP, getattr(socket, name), value)
