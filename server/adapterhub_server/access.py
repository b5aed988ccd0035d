"""Which call needs what: checked in one place, and what is not in the table is refused."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

from adapterhub.errors import AuthError, ForbiddenError, QueueFullError
from adapterhub_server.caller import ANYBODY, Caller, Scope
from adapterhub_server.keys import Keys

HEALTH = "/grpc.health.v1.Health/"
"""Open to everybody: whoever probes has no key."""
RETRY_SECONDS = 1.0

NEEDS: Mapping[str, Scope] = {
    "/adapterhub.v1.Inference/Generate": "infer",
    "/adapterhub.v1.Inference/GenerateStream": "infer",
    "/adapterhub.v1.Inference/Tokenize": "infer",
    "/adapterhub.v1.Adapters/List": "infer",
    "/adapterhub.v1.Adapters/Get": "infer",
    "/adapterhub.v1.Adapters/Watch": "infer",
    "/adapterhub.v1.Adapters/Load": "manage",
    "/adapterhub.v1.Adapters/Unload": "manage",
    "/adapterhub.v1.Adapters/Pin": "manage",
    "/adapterhub.v1.Adapters/Unpin": "manage",
    "/adapterhub.v1.Routes/List": "manage",
    "/adapterhub.v1.Routes/Set": "manage",
    "/adapterhub.v1.Routes/Delete": "manage",
    "/adapterhub.v1.Server/Info": "infer",
    "/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo": "infer",
}
"""The scope a key must have for each method."""
HTTP_NEEDS: Mapping[str, Scope] = {
    "/openai.v1.OpenAI/ListModels": "infer",
    "/openai.v1.OpenAI/GetModel": "infer",
    "/openai.v1.OpenAI/Completions": "infer",
    "/openai.v1.OpenAI/ChatCompletions": "infer",
}
"""Likewise for those of the HTTP door, which are named as if a service had them."""


class Access:
    """Decides who calls, whether they may, and whether they have too much under way. Lives on the event loop."""

    def __init__(self, keys: Keys | None = None, *, max_calls: int = 256) -> None:
        """Without `keys`, everybody may everything. `max_calls` is for each key, or each address without keys."""
        self._keys = keys
        self._max_calls = max_calls
        self._calls: Counter[str] = Counter()

    def caller(self, method: str, metadata: Mapping[str, str]) -> Caller:
        """Raises AuthError without a known key, ForbiddenError when the key may not."""
        if self._keys is None:
            return ANYBODY
        if "authorization" not in metadata:
            raise AuthError("this server needs an API key (metadata 'authorization: Bearer ahk_...')")
        caller = self._keys.caller(metadata["authorization"])
        scope = NEEDS.get(method) or HTTP_NEEDS.get(method)
        if scope not in caller.scopes:
            lacks = f"this API key lacks the scope {scope!r}" if scope else "no API key may call it"
            raise ForbiddenError(f"{method.rpartition('/')[2]}: {lacks}")
        return caller

    @contextmanager
    def call(self, client: str) -> Iterator[None]:
        """One call of a client, which is a key's id or an address. Raises QueueFullError beyond what it may have."""
        if self._calls[client] >= self._max_calls:
            raise QueueFullError(
                f"{self._max_calls} calls of this client are under way; try again in {RETRY_SECONDS} s",
                retry_after=RETRY_SECONDS,
            )
        self._calls[client] += 1
        try:
            yield
        finally:
            self._calls[client] -= 1
            if not self._calls[client]:
                del self._calls[client]
