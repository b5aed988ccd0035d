"""The Hugging Face Hub: adapters pulled from it, pushed to it, and compared with it.

Imports without torch and without `huggingface_hub`: its functions bring them.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from adapterhub.hub.result import Outdated, Pulled, Pushed, PushedFile
from adapterhub.hub.target import Target

if TYPE_CHECKING:
    from adapterhub.hub.compare import outdated
    from adapterhub.hub.from_hub import pull
    from adapterhub.hub.to_hub import push

__all__ = ["Outdated", "Pulled", "Pushed", "PushedFile", "Target", "outdated", "pull", "push"]

_HOMES = {"outdated": "compare", "pull": "from_hub", "push": "to_hub"}
"""Modules of the functions; a module of a function's name would take its place."""


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"adapterhub.hub.{_HOMES[name]}"), name)
