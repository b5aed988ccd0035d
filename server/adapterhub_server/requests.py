"""From a message to a request of the engine: who may, which adapter, which token ids."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from typing import NamedTuple

from adapterhub.adapter import Adapter
from adapterhub.engine import Engine, Request, Sampling
from adapterhub.errors import AdapterNotFoundError, ConflictError
from adapterhub.pb.v1 import inference_pb2
from adapterhub.store import AdapterRef
from adapterhub_server.call import CALL
from adapterhub_server.caller import CALLER
from adapterhub_server.catalog import Catalog
from adapterhub_server.prompts import Prompts
from adapterhub_server.router import Choice, Router

MAX_NEW_TOKENS = 8192
"""As `Sampling.max_new_tokens` has it."""

Metadata = Iterable[tuple[str, str | bytes]]


class Admitted(NamedTuple):
    """A request of the engine and how its adapter was chosen."""

    request: Request
    choice: Choice


class Requests:
    """Routes a message, resolves its adapter for its whole life, and tokenizes its prompt."""

    def __init__(self, engine: Engine, catalog: Catalog, router: Router) -> None:
        self._engine = engine
        self._catalog = catalog
        self._router = router
        self._prompts = Prompts(engine.base.tokenizer, limits=engine.limits)

    async def admit(self, message: inference_pb2.GenerateRequest, metadata: Metadata) -> Admitted:
        """Raises InvalidInputError naming the field, AuthError, AdapterNotFoundError, ConflictError, IntegrityError."""
        options = {
            field.name: tuple(value) if field.is_repeated else value for field, value in message.sampling.ListFields()
        }
        sampling = Sampling.load(options, where="sampling")
        call = CALL.get()
        call.route = await self._router.choose(message, metadata)
        call.route, adapter = await self._adapter(call.route)
        prompt_ids = await asyncio.to_thread(self._prompts.encode, message, adapter)
        call.prompt_tokens = len(prompt_ids)
        if call.fills and "max_new_tokens" not in options:
            room = await asyncio.to_thread(self._room, prompt_ids, adapter)
            sampling = sampling.model_copy(update={"max_new_tokens": room})
        digest = adapter.digest if adapter else ""
        return Admitted(Request(prompt_ids, digest, sampling, salt=CALLER.get().tenant), call.route)

    async def tokenize(self, message: inference_pb2.TokenizeRequest) -> inference_pb2.TokenizeResponse:
        """Raises as `admit`."""
        adapter = await self._get(message.adapter) if message.adapter else None
        token_ids = await asyncio.to_thread(self._prompts.encode, message, adapter)
        virtual = await asyncio.to_thread(self._engine.virtual_tokens, adapter) if adapter else 0
        return inference_pb2.TokenizeResponse(token_ids=token_ids, virtual_tokens=virtual)

    def _room(self, prompt_ids: tuple[int, ...], adapter: Adapter | None) -> int:
        """New tokens that the context has room for, at least one and no more than any request may ask for."""
        virtual = self._engine.virtual_tokens(adapter) if adapter else 0
        return max(1, min(MAX_NEW_TOKENS, self._engine.limits.max_length - len(prompt_ids) - virtual))

    async def _adapter(self, choice: Choice) -> tuple[Choice, Adapter | None]:
        if not choice.adapter:
            return choice, None
        try:
            return choice, await self._get(choice.adapter)
        except (AdapterNotFoundError, ConflictError):  # not there, or unloaded here
            if not choice.falls_back:
                raise
            return Choice("", "fallback", choice.name), None

    async def _get(self, ref: str) -> Adapter:
        asked, call = AdapterRef.parse(ref), CALL.get()
        call.asks_for(asked)
        CALLER.get().check(asked)
        adapter = await self._catalog.get(ref)
        call.found(adapter)
        return adapter
