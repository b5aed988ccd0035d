"""From a message to a request of the engine: who may, which adapter, which token ids."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping
from typing import NamedTuple

from adapterhub.adapter import Adapter
from adapterhub.engine import Engine, Request, Sampling, Servable, Structure
from adapterhub.errors import AdapterNotFoundError, ConflictError, InvalidInputError
from adapterhub.pb.v1 import inference_pb2
from adapterhub.store import AdapterRef
from adapterhub.structure.structure import MAX_BYTES
from adapterhub_server.blends import resolved
from adapterhub_server.call import CALL
from adapterhub_server.caller import CALLER
from adapterhub_server.calling import Calling
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
    calling: Calling | None = None
    """How calls of tools are read out of its answer."""


class Requests:
    """Routes a message, resolves its adapter for its whole life, and tokenizes its prompt."""

    def __init__(self, engine: Engine, catalog: Catalog, router: Router) -> None:
        self._engine = engine
        self._catalog = catalog
        self._router = router
        self._prompts = Prompts(engine.base.tokenizer, limits=engine.limits)

    async def admit(self, message: inference_pb2.GenerateRequest, metadata: Metadata) -> Admitted:
        """Raises InvalidInputError naming the field, AuthError, AdapterNotFoundError, ConflictError, IntegrityError."""
        call = CALL.get()
        fills = call.fills and not message.sampling.HasField("max_new_tokens")
        sampling = _sampling(message.sampling, {"max_new_tokens": MAX_NEW_TOKENS} if fills else {})
        structure = _structure(message)
        call.route = await self._router.choose(message, metadata, names_base=call.names_base)
        call.route, adapter = await self._served(call.route, message.blend)
        encoded = await asyncio.to_thread(self._prompts.encode, message, adapter, call.route.system_prompt)
        if encoded.must_be:
            structure = _forced(structure, encoded.must_be)
        call.prompt_tokens = len(encoded.token_ids)
        if fills:
            room = await asyncio.to_thread(self._room, encoded.token_ids, adapter)
            sampling = sampling.model_copy(update={"max_new_tokens": room})
        digest = adapter.digest if adapter else ""
        silent = encoded.calling.silent if encoded.calling else None
        request = Request(encoded.token_ids, digest, sampling, CALLER.get().tenant, structure, silent)
        return Admitted(request, call.route, encoded.calling)

    async def tokenize(self, message: inference_pb2.TokenizeRequest) -> inference_pb2.TokenizeResponse:
        """Raises as `admit`."""
        adapter = await self._get(message.adapter) if message.adapter else None
        token_ids = (await asyncio.to_thread(self._prompts.encode, message, adapter)).token_ids
        virtual = await asyncio.to_thread(self._engine.virtual_tokens, adapter) if adapter else 0
        return inference_pb2.TokenizeResponse(token_ids=token_ids, virtual_tokens=virtual)

    def _room(self, prompt_ids: tuple[int, ...], adapter: Servable | None) -> int:
        """New tokens that the context has room for, at least one and no more than any request may ask for."""
        virtual = self._engine.virtual_tokens(adapter) if adapter else 0
        return max(1, min(MAX_NEW_TOKENS, self._engine.limits.max_length - len(prompt_ids) - virtual))

    async def _served(self, choice: Choice, blend: inference_pb2.Blend) -> tuple[Choice, Servable | None]:
        """What the choice names, known to the engine."""
        if choice.by != "blend":
            return await self._adapter(choice)
        found = await resolved(blend, self._get)
        self._engine.register_adapter(found)
        call = CALL.get()
        call.adapter = choice.adapter
        call.found(found)
        return choice, found

    async def _adapter(self, choice: Choice) -> tuple[Choice, Adapter | None]:
        if not choice.adapter:
            return choice, None
        try:
            return choice, await self._get(choice.adapter)
        except (AdapterNotFoundError, ConflictError):  # not there, or unloaded here
            if not choice.falls_back:
                raise
            return choice._replace(adapter="", by="fallback", falls_back=False), None

    async def _get(self, ref: str) -> Adapter:
        asked, call = AdapterRef.parse(ref), CALL.get()
        call.asks_for(asked)
        CALLER.get().check(asked)
        adapter = await self._catalog.get(ref)
        call.found(adapter)
        return adapter


def _sampling(message: inference_pb2.Sampling, defaults: Mapping[str, object]) -> Sampling:
    """Raises ConfigError naming the field."""
    options = dict(defaults)
    for field, value in message.ListFields():
        plain = dict(value) if isinstance(value, Mapping) else tuple(value) if field.is_repeated else value
        options[field.name] = plain
    return Sampling.load(options, where="sampling")


def _forced(structure: Structure | None, grammar: str) -> Structure:
    """The structure of a call that has to be made. Raises InvalidInputError beside another, and over its limit."""
    field = "chat.tool_choice"
    if structure is not None:
        raise InvalidInputError(f"{field}: TOOL_CHOICE_REQUIRED is not accepted beside structure", field=field)
    if len(grammar.encode()) > MAX_BYTES["grammar"]:
        raise InvalidInputError(
            f"{field}: TOOL_CHOICE_REQUIRED takes tools of about {MAX_BYTES['grammar']} bytes; name one", field=field
        )
    return Structure(grammar=grammar, marked=True)


def _structure(message: inference_pb2.GenerateRequest) -> Structure | None:
    if not message.HasField("structure"):
        return None
    given = {field.name: value for field, value in message.structure.ListFields()}
    if "choice" in given:
        given["choice"] = tuple(message.structure.choice.texts)
    return Structure.load(given, where="structure")
