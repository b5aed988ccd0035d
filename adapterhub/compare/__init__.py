"""What differs between two adapters. `compare` brings torch."""

from typing import TYPE_CHECKING, Any

from adapterhub.compare.changes import Change, changes
from adapterhub.compare.difference import Difference, SiteNorms

if TYPE_CHECKING:
    from adapterhub.compare.run import compare

__all__ = ["Change", "Difference", "SiteNorms", "changes", "compare"]


def __getattr__(name: str) -> Any:
    if name == "compare":
        from adapterhub.compare.run import compare

        return compare
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
