"""A question to an adapter by its name, and an engine of one's own that takes it.

`Question` and turns import without torch; `OwnEngine` brings it.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from adapterhub.asking.question import Question
from adapterhub.asking.turns import as_prompt, turns_of

if TYPE_CHECKING:
    from adapterhub.asking.own_engine import OwnEngine

__all__ = ["OwnEngine", "Question", "as_prompt", "turns_of"]

_HOMES = {"OwnEngine": "adapterhub.asking.own_engine"}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(_HOMES[name]), name)
