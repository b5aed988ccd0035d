"""What the shell completes beside verbs and options: names of adapters, bases and methods. Imports no torch.

What is not covered: a plugin's methods by their own names, as asking it would import torch. Offered are
the names of plugins, which mostly are their methods', and those of PEFT's types.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

import click
from click.shell_completion import CompletionItem

from adapterhub.errors import AdapterHubError
from adapterhub.plugins import GROUP, find, peft_types
from adapterhub.store import Store

BUILT_IN_BASE = "smollm2-135m"


class Named(click.ParamType[str]):
    """Text that is likely one of some names; any other is accepted too."""

    def __init__(self, name: str, known: Callable[[], Iterable[str]], *, folders: bool = False) -> None:
        self.name = name
        self._known = known
        self._folders = folders

    def shell_complete(self, ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:
        try:
            names = sorted(name for name in set(self._known()) if name.startswith(incomplete))
        except (AdapterHubError, OSError):  # a broken store or setting completes nothing; verbs tell why
            names = []
        if not names and self._folders:
            return [CompletionItem(incomplete, type="dir")]
        return [CompletionItem(name) for name in names]


def _refs() -> Iterable[str]:
    """Names alone and with their tags."""
    for ref in Store.default().labels():
        yield ref.name
        yield ref.label


def _bases() -> Iterable[str]:
    """The built-in base, and those that adapters of the store were made on."""
    return {BUILT_IN_BASE} | {stored.base for stored in Store.default().list() if stored.base}


def _methods() -> Iterable[str]:
    return {point.name for point in find(GROUP).used} | {name.lower() for name in peft_types()}


REF = Named("ref", _refs)
BASE = Named("base", _bases, folders=True)
METHOD = Named("method", _methods)

COMPLETED = {"REF": REF, "REFS": REF, "BASE": BASE, "METHOD": METHOD}
"""By what a parameter's value is called in the help."""
