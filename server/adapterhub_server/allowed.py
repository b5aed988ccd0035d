"""Whether the caller may speak of an adapter."""

from __future__ import annotations

from adapterhub.store import AdapterRef
from adapterhub_server.call import CALL
from adapterhub_server.caller import CALLER


def allowed(ref: str) -> str:
    """The reference itself. Raises RefError, and ForbiddenError when the caller may not use what it names."""
    asked = AdapterRef.parse(ref)
    CALL.get().asks_for(asked)
    CALLER.get().check(asked)
    return ref
