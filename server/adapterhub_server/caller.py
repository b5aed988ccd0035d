"""Who calls: what the interceptor that checks it tells everything behind it."""

from __future__ import annotations

from contextvars import ContextVar
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Literal

from adapterhub.errors import ForbiddenError
from adapterhub.store import AdapterRef

Scope = Literal["infer", "manage"]


@dataclass(frozen=True)
class Caller:
    """A client and what it may do."""

    key: str = ""
    """The id of its key; empty where the server has no keys."""
    tenant: str = ""
    """Salts every cache: tenants share no computed rows."""
    scopes: frozenset[Scope] = frozenset(("infer", "manage"))
    adapters: tuple[str, ...] = ("*",)
    """Patterns of the adapters it may use, matched whole against the name; the Hub's begin with `hf:`."""

    def may_use(self, ref: AdapterRef) -> bool:
        """Whether the caller may use, and see, what the reference names, whatever its tag and digest."""
        name = ref.label.removesuffix(f":{ref.tag}")
        return any(fnmatchcase(name, pattern) for pattern in self.adapters)

    def check(self, ref: AdapterRef) -> None:
        """Raises ForbiddenError when the caller may not use what the reference names."""
        if not self.may_use(ref):
            raise ForbiddenError(f"adapter {ref.label}: not allowed with this API key")


ANYBODY = Caller()
"""The only caller of a server without keys."""
CALLER: ContextVar[Caller] = ContextVar("adapterhub-caller", default=ANYBODY)
"""The caller of the request under way; set by the interceptor."""
