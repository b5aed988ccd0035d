"""How long the records of a data set are."""

from __future__ import annotations

from collections.abc import Sequence
from math import ceil
from typing import Any, NamedTuple, Self

BINS = 12
"""About so many bars of a histogram."""


class Bin(NamedTuple):
    """One bar of the histogram."""

    first: int
    last: int
    """Included."""
    records: int


class Lengths(NamedTuple):
    """Figures of the lengths of records, each with its prompt and its response."""

    unit: str
    """`tokens` or `characters`."""
    least: int
    median: int
    p90: int
    """Nine of ten are no longer."""
    p99: int
    most: int
    total: int
    bins: tuple[Bin, ...]
    """All of one width but the last, which also holds what is longer."""

    @classmethod
    def of(cls, lengths: Sequence[int], unit: str) -> Self | None:
        """None of nothing."""
        if not lengths:
            return None
        ordered = sorted(lengths)
        half, nine, most = (ordered[ceil(share * len(ordered)) - 1] for share in (0.5, 0.9, 0.99))
        return cls(unit, ordered[0], half, nine, most, ordered[-1], sum(ordered), _bins(ordered, most))

    def as_json(self) -> dict[str, Any]:
        return self._asdict() | {"bins": [each._asdict() for each in self.bins]}


def _bins(ordered: Sequence[int], p99: int) -> tuple[Bin, ...]:
    """Bars from the shortest to the 99th percentile, of a width of 1, 2 or 5 times a power of ten; the rest in one."""
    least = -(-(p99 - ordered[0] + 1) // BINS)
    width = next(step * 10**power for power in range(20) for step in (1, 2, 5) if step * 10**power >= least)
    start = ordered[0] // width * width
    counts = [0] * ((p99 - start) // width + 1)
    for length in ordered:
        counts[min((length - start) // width, len(counts) - 1)] += 1
    ends = [start + width * (number + 1) - 1 for number in range(len(counts))]
    ends[-1] = max(ends[-1], ordered[-1])
    starts = [start + width * number for number in range(len(counts))]
    return tuple(map(Bin, starts, ends, counts))
