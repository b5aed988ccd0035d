"""The most memory that a run held."""

from __future__ import annotations

import resource
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch


@contextmanager
def measured_memory(device: torch.device) -> Iterator[Callable[[], int]]:
    """Gives what tells the most bytes so far: on CUDA of tensors since now, elsewhere of the process in its life."""
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
        yield lambda: int(torch.cuda.max_memory_allocated(device))
        return
    unit = 1 if sys.platform == "darwin" else 1024  # Linux counts KiB
    yield lambda: resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit
