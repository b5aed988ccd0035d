"""Adapters into the base's weights, and several adapters into one. `merge` and `combine` bring torch."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from adapterhub.merging.combination import KINDS, Combination, Part
from adapterhub.merging.merged import Merged, Requantization

if TYPE_CHECKING:
    from adapterhub.merging.into_base import merge
    from adapterhub.merging.into_one import Combined, combine

__all__ = ["KINDS", "Combination", "Combined", "Merged", "Part", "Requantization", "combine", "merge"]

_HOMES = {"Combined": "into_one", "combine": "into_one", "merge": "into_base"}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
