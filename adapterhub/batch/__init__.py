"""Many requests from a file, their answers into another, in order, and on from there after a kill.

Settings and results import without torch; `run_batch` brings it.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from adapterhub.batch.config import BatchConfig
from adapterhub.batch.result import BatchResult

if TYPE_CHECKING:
    from adapterhub.batch.run import run_batch

__all__ = ["BatchConfig", "BatchResult", "run_batch"]

_HOMES = {"run_batch": "adapterhub.batch.run"}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(_HOMES[name]), name)
