"""Adapters that somebody else made: from a folder of theirs to a checked folder of ours.

Imports without torch; `import_adapter` brings it.
"""

from typing import TYPE_CHECKING, Any

from adapterhub.imports.choose import choose
from adapterhub.imports.imported import Imported
from adapterhub.imports.limits import Limits

if TYPE_CHECKING:
    from adapterhub.imports.run import import_adapter

__all__ = ["Imported", "Limits", "choose", "import_adapter"]


def __getattr__(name: str) -> Any:
    if name == "import_adapter":
        from adapterhub.imports.run import import_adapter

        return import_adapter
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
