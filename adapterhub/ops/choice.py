"""Which kernels compute on the CPU, and why."""

from __future__ import annotations

import functools
from pathlib import Path
from typing import NamedTuple

from adapterhub.errors import UnavailableError
from adapterhub.ops.compiled import compiled
from adapterhub.ops.kernels import Kernels
from adapterhub.settings import effective


class Choice(NamedTuple):
    """What was chosen."""

    kernels: Kernels | None
    """None: torch computes."""
    reason: str
    """What they were made with, or why there are none."""
    failed: bool = False
    """There are none, though nobody switched them off."""


def chosen_kernels() -> Choice:
    """The native kernels if they are not switched off and can be had. Raises ConfigError for wrong settings."""
    settings = effective().settings
    if settings.kernels == "torch":
        return Choice(None, "switched off by the setting `kernels`")
    return _loaded(settings.cache / "kernels")


@functools.cache
def _loaded(folder: Path) -> Choice:
    """Once per process: a library is never unloaded, and who has no compiler now gets none meanwhile."""
    try:
        found = compiled(folder)
        kernels = Kernels.load(found)
    except UnavailableError as error:
        return Choice(None, str(error), failed=True)
    threads = "" if found.threads else ", single-threaded"
    return Choice(kernels, f"compiled by {found.compiler}{threads}")
