"""Who calls: what the one interceptor that checks it tells everything behind it."""

from __future__ import annotations

from contextvars import ContextVar
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Literal

from adapterhub.errors import AuthError

Scope = Literal["infer", "manage"]


@dataclass(frozen=True)
class Caller:
    """A client and what it may do."""

    tenant: str = ""
    """Salts every cache: tenants share no computed rows."""
    scopes: frozenset[Scope] = frozenset(("infer", "manage"))
    adapters: tuple[str, ...] = ("*",)
    """Patterns of the adapters it may use, matched whole against a reference without its tag and digest."""

    def check_adapter(self, name: str) -> None:
        """`name` is a reference without tag and digest. Raises AuthError when the caller may not use it."""
        if not any(fnmatchcase(name, pattern) for pattern in self.adapters):
            raise AuthError(f"adapter {name}: not allowed with this key")


ANYBODY = Caller()
"""The only caller of a server without keys."""
CALLER: ContextVar[Caller] = ContextVar("adapterhub-caller", default=ANYBODY)
"""The caller of the request under way; set by the interceptor."""
