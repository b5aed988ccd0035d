"""Tensors of adapters that were read and may be needed again."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping

from torch import Tensor


class HostTier:
    """Tensors in host memory as they stand on disk, by digest, within a budget of bytes; not locked itself."""

    def __init__(self, budget: int) -> None:
        self._budget = budget
        self._tensors: OrderedDict[str, Mapping[str, Tensor]] = OrderedDict()
        """The ones unused longest first."""
        self._used = 0

    def holds(self, digest: str) -> bool:
        return digest in self._tensors

    def get(self, digest: str) -> Mapping[str, Tensor] | None:
        """An adapter's tensors, by their names on disk; None when they must be read."""
        if digest not in self._tensors:
            return None
        self._tensors.move_to_end(digest)
        return self._tensors[digest]

    def put(self, digest: str, tensors: Mapping[str, Tensor]) -> None:
        """Keep an adapter's tensors, if they fit at all."""
        self.drop(digest)
        if _nbytes(tensors) > self._budget:
            return
        self._tensors[digest] = tensors
        self._used += _nbytes(tensors)
        while self._used > self._budget:
            self.drop(next(iter(self._tensors)))

    def drop(self, digest: str) -> None:
        """Let go of an adapter's tensors; nothing happens when there are none."""
        if (tensors := self._tensors.pop(digest, None)) is not None:
            self._used -= _nbytes(tensors)

    def clear(self) -> None:
        """Let go of everything."""
        self._tensors.clear()
        self._used = 0

    def check_integrity(self) -> None:
        assert self._used == sum(map(_nbytes, self._tensors.values())) <= self._budget, "host bytes were lost"


def _nbytes(tensors: Mapping[str, Tensor]) -> int:
    return sum(tensor.nbytes for tensor in tensors.values())
