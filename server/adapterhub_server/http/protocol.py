"""The connection of one client, which a reply that nobody reads can break."""

from __future__ import annotations

import asyncio

from uvicorn.protocols.http.h11_impl import H11Protocol

BREAK = "adapterhub.break"
"""The key in a scope's state of what breaks its connection."""


class Protocol(H11Protocol):
    """uvicorn's, whose `close` would wait for what is not read to be read."""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as uvicorn has it
        super().connection_made(transport)
        self.app_state = {**self.app_state, BREAK: transport.abort}
