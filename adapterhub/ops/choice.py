"""Which kernels compute, and why."""

from __future__ import annotations

import functools
from pathlib import Path
from typing import Generic, NamedTuple, TypeVar

import torch

from adapterhub.errors import UnavailableError
from adapterhub.ops.compiled import compiled
from adapterhub.ops.cuda.kernels import CudaKernels
from adapterhub.ops.cuda.load import load_cuda_kernels
from adapterhub.ops.kernels import Kernels
from adapterhub.settings import effective

K = TypeVar("K", Kernels, CudaKernels)
OFF = "switched off by the setting `kernels`"


class Choice(NamedTuple, Generic[K]):
    """What was chosen."""

    kernels: K | None
    """None: torch computes."""
    reason: str
    """What they were made with, or why there are none."""
    failed: bool = False
    """There are none, though nobody switched them off."""


def chosen_kernels() -> Choice[Kernels]:
    """The CPU's if they are not switched off and can be had. Raises ConfigError for wrong settings."""
    settings = effective().settings
    if settings.kernels == "torch":
        return Choice(None, OFF)
    return _loaded(settings.cache / "kernels")


def chosen_cuda_kernels(device: torch.device) -> Choice[CudaKernels]:
    """Those of a CUDA device, likewise. They are compiled, and held against torch on it, when first asked for."""
    return Choice(None, OFF) if effective().settings.kernels == "torch" else _loaded_on(device)


@functools.cache
def _loaded(folder: Path) -> Choice[Kernels]:
    """Once per process: a library is never unloaded, and who has no compiler now gets none meanwhile."""
    try:
        found = compiled(folder)
        kernels = Kernels.load(found)
    except UnavailableError as error:
        return Choice(None, str(error), failed=True)
    threads = "" if found.threads else ", single-threaded"
    return Choice(kernels, f"compiled by {found.compiler}{threads}")


@functools.cache
def _loaded_on(device: torch.device) -> Choice[CudaKernels]:
    try:
        return Choice(load_cuda_kernels(device), "compiled by Triton, equal to torch on this device")
    except UnavailableError as error:
        return Choice(None, str(error), failed=True)
