"""What an engine needs of kernels for what adapters do to their rows, wherever the base is."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Protocol, TypeVar

from torch import Tensor

from adapterhub.ops.updates import KernelOp, Place, Run, Update, Updates

K = TypeVar("K")


class AdapterKernels(Protocol):
    """A row's result does not depend, to the bit, on the rows beside it. `Kernels` on a CPU, `CudaKernels` on CUDA."""

    @property
    def digest(self) -> str:
        """Of what they are made from."""

    def read(self, ops: Mapping[K, KernelOp]) -> Mapping[K, Update]:
        """The ops of one adapter as these kernels read them; it copies each number once."""

    def hold(self, updates: Mapping[int, Update], modules: int) -> Updates:
        """One adapter's, by the index of their module, on a base of so many modules."""

    def segments(self, runs: Sequence[Run]) -> Any:
        """A step's rows as these kernels take them."""

    def update_(self, places: Sequence[Place], segments: Any) -> None:
        """Every segment's updates of the results at `places`."""

    def scale_rows_(self, module: int, x: Tensor, segments: Any) -> None:
        """What every segment does to its rows of `x` [rows, in] in front of a module; `x` is contiguous."""
