"""The HTTP endpoint that Prometheus reads."""

from __future__ import annotations

from typing import Self

from prometheus_client import CollectorRegistry, start_http_server

from adapterhub_server.ports import cannot_listen


class MetricsEndpoint:
    """Answers on a thread of its own until it is closed. No key is asked for; whoever reaches the port may read."""

    def __init__(self, host: str, port: int, registry: CollectorRegistry) -> None:
        """Port 0 takes a free one. Raises UnavailableError when the port cannot be bound."""
        try:
            self._server, self._thread = start_http_server(port, host, registry)
        except OSError as error:
            raise cannot_listen(error, host, port, "--metrics-port") from None
        name = f"[{host}]" if ":" in host else host
        self.url = f"http://{name}:{self._server.server_port}/metrics"

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
