"""What a CUDA graph does, on a CPU: the operations of a run are noted, and done again to the same memory.

No Python of ours runs in a replay, so that what it baked in shows: a number it read, a mask that it kept, a tensor made
outside. Triton's launches in the interpreter pass no dispatcher; `Launches` notes them.
"""

from __future__ import annotations

from collections.abc import Callable
from types import ModuleType
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves


class Tape:
    """A `Recorder`."""

    def __init__(self) -> None:
        self.recorded = 0
        self.replayed = 0
        self.calls: list[Callable[[], object]] | None = None
        """Of the run under way."""

    def record(self, run: Callable[[], Tensor]) -> Callable[[], Tensor]:
        run()  # as a warm-up, which leaves nothing behind
        calls: list[Callable[[], object]] = []
        self.calls = calls
        try:
            with _Noting(self):
                result = run()
        finally:
            self.calls = None
        self.recorded += 1

        def replay() -> Tensor:
            self.replayed += 1
            for call in calls:
                call()
            return result

        return replay


class _Noting(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Notes every operation but those inside a launch."""

    def __init__(self, tape: Tape) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._tape = tape

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        assert func not in (torch.ops.aten._local_scalar_dense.default,), "a graph cannot wait for a number"
        kwargs = kwargs or {}
        made = func(*args, **kwargs)
        if self._tape.calls is None:
            return made
        read = {_memory(tensor) for tensor in _tensors((args, kwargs))}
        own = [(index, tensor) for index, tensor in enumerate(_tensors(made)) if _memory(tensor) not in read]

        def again() -> None:
            found = _tensors(func(*args, **kwargs))
            for index, tensor in own:
                tensor.copy_(found[index])

        self._tape.calls.append(again)
        return made


def _tensors(tree: Any) -> list[Tensor]:
    return [leaf for leaf in tree_leaves(tree) if isinstance(leaf, Tensor)]


def _memory(tensor: Tensor) -> int:
    return tensor.untyped_storage().data_ptr()


class Launches:
    """The kernels of a module, each launch noted on a tape while it records."""

    def __init__(self, rows: ModuleType, tape: Tape) -> None:
        self._rows = rows
        self._tape = tape

    def __getattr__(self, name: str) -> Any:
        found = getattr(self._rows, name)
        return _Kernel(found, self._tape) if name in ("shrink", "expand", "scale_rows") else found


class _Kernel:
    def __init__(self, kernel: Any, tape: Tape) -> None:
        self._kernel = kernel
        self._tape = tape

    def __getitem__(self, grid: Any) -> Callable[..., object]:
        def launch(*args: Any, **options: Any) -> None:
            def call() -> object:
                return self._kernel[grid](*args, **options)

            calls, self._tape.calls = self._tape.calls, None
            call()
            self._tape.calls = calls
            if calls is not None:
                calls.append(call)

        return launch
