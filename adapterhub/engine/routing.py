"""Which rows of a step belong to which adapter."""

from __future__ import annotations

from dataclasses import dataclass, field
from itertools import groupby
from typing import NamedTuple

from adapterhub.engine.resident_adapter import ResidentAdapter
from adapterhub.engine.sequence import Chunk


class Segment(NamedTuple):
    """Rows `start` to `stop` of a step, all of one adapter."""

    adapter: ResidentAdapter
    start: int
    stop: int


@dataclass
class Routing:
    """Two maps a step: all rows for the layers, those that reach the head for it. Base rows are in neither."""

    rows: list[Segment] = field(default_factory=list)
    head: list[Segment] = field(default_factory=list)
    failed: dict[int, Exception] = field(default_factory=dict)
    """Adapter slot -> what its method raised in this step; only its own requests end."""

    @classmethod
    def of(cls, chunks: list[Chunk]) -> Routing:
        """The maps of a step whose chunks are sorted by adapter slot."""
        rows, head = [], []
        for chunk in chunks:
            sequence = chunk.sequence
            first = min(max(sequence.starts, chunk.start), chunk.stop)
            rows += [(None, first - chunk.start), (sequence.adapter, chunk.stop - first)]
            own = min(chunk.num_heads, chunk.stop - first)
            head += [(None, chunk.num_heads - own), (sequence.adapter, own)]
        return cls(_segments(rows), _segments(head))

    @property
    def num_adapters(self) -> int:
        return len({segment.adapter.slot for segment in self.rows})

    @property
    def num_methods(self) -> int:
        return len({segment.adapter.method.name for segment in self.rows})


def _segments(counts: list[tuple[ResidentAdapter | None, int]]) -> list[Segment]:
    """Runs of rows of one adapter, from runs of rows in order; `None` is the bare base."""
    segments, start = [], 0
    counts = [item for item in counts if item[1]]
    for _, group in groupby(counts, key=lambda item: item[0].slot if item[0] else 0):
        members = list(group)
        stop = start + sum(count for _, count in members)
        if (adapter := members[0][0]) is not None:
            segments.append(Segment(adapter, start, stop))
        start = stop
    return segments
