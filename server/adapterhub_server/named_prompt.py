"""A prompt of a request that names its model, as the services of others have it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import NamedTuple

from adapterhub.engine import Engine
from adapterhub.errors import InvalidInputError
from adapterhub.pb.v1 import inference_pb2
from adapterhub.store import AdapterRef
from adapterhub_server.call import CALL
from adapterhub_server.requests import Metadata, Requests

FORMAT_KEY = "adapterhub-prompt-format"
"""The metadata key by which a caller says how its text is to be read; those services' messages have no field for it."""
FORMATS: Mapping[str, inference_pb2.PromptFormat.Kind] = {
    "raw": inference_pb2.PromptFormat.KIND_RAW,
    "chat": inference_pb2.PromptFormat.KIND_CHAT,
}


class NamedPrompt(NamedTuple):
    """What the model reads, and under which adapter."""

    adapter: str
    """Pinned to the content whose format the prompt has, where it is the store's; empty for the bare base."""
    ids: tuple[int, ...]
    room: int
    """Tokens that fit behind it."""
    bound: str
    """What bounds them, in words."""

    def request(self) -> inference_pb2.GenerateRequest:
        """No router looks at a prompt of token ids: who names a model gets it.

        Raises InvalidInputError when there is no room behind it.
        """
        if self.room < 1:
            raise InvalidInputError(
                f"text: {len(self.ids)} tokens leave no room for an answer in {self.bound}", field="text"
            )
        return inference_pb2.GenerateRequest(token_ids=inference_pb2.TokenIds(ids=self.ids), adapter=self.adapter)


class NamedPrompts:
    """Reads prompts as our own services do: as the adapter was trained, unless the caller says otherwise."""

    def __init__(self, engine: Engine, requests: Requests) -> None:
        self._limits = engine.limits
        self._bos = engine.base.tokenizer.bos_token_id
        self._requests = requests

    async def read(self, text: str, adapter: str, metadata: Metadata, last: int = 0) -> NamedPrompt:
        """With `last`, the prompt's last so many tokens, of which a beginning-of-sequence token is one.

        Raises as `Requests.tokenize`.
        """
        message = inference_pb2.TokenizeRequest(text=text, adapter=adapter)
        if (kind := _kind(metadata)) is not None:
            message.prompt_format.kind = kind
        read = await self._requests.tokenize(message)
        ids = tuple(read.token_ids)
        if 0 < last < len(ids):
            head = ids[:1] if ids[0] == self._bos and last > 1 else ()
            ids = head + ids[len(ids) - last + len(head) :]
        room = self._limits.max_length - len(ids) - read.virtual_tokens
        return NamedPrompt(_pinned(adapter) if adapter else "", ids, room, self._limits.bound)


def _pinned(adapter: str) -> str:
    """One of the Hub stays as it is: it keeps its content until it is loaded anew, and pinned it is pulled again."""
    asked = AdapterRef.parse(adapter)
    return str(asked if asked.hub else replace(asked, digest=CALL.get().digest))


def _kind(metadata: Metadata) -> inference_pb2.PromptFormat.Kind | None:
    given = next((value for key, value in metadata if key == FORMAT_KEY), None)
    if given is None:
        return None
    if not isinstance(given, str) or given not in FORMATS:
        raise InvalidInputError(f"{FORMAT_KEY}: {given!r} (accepted: {', '.join(FORMATS)})", field=FORMAT_KEY)
    return FORMATS[given]
