"""A step's rows as the Triton kernels take them: tiles of few rows, each of one adapter."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple, Self

import torch
from torch import Tensor

from adapterhub.ops.cuda.sizes import ROWS, WORDS
from adapterhub.ops.updates import Run, Updates


class Tiles(NamedTuple):
    """Made once a step."""

    table: Tensor
    """int64 [tiles, 5], on the device: the address of the adapter's updates, the tile's first row and the one behind
    its last, where its rows' hidden values begin, and how many each row has room for."""
    rank: int
    """The highest of the step's adapters."""
    hidden: int
    """Room for hidden values of all rows: each row has its own adapter's rank."""
    reads_output: bool
    """Whether an update reads the output of its module."""
    kept: tuple[Updates, ...]
    """What the addresses point to."""

    @classmethod
    def of(cls, runs: Sequence[Run], device: torch.device) -> Self:
        """From each run's updates, first row, and the row behind its last."""
        kept = tuple(updates for updates, _, _ in runs)
        if not kept:
            return cls(torch.empty(0, WORDS, dtype=torch.int64), 0, 0, False, ())
        words = torch.tensor([(updates.table.data_ptr(), *rows, updates.rank) for updates, *rows in runs])
        update, start, stop, rank = words.T
        counts = (stop - start + ROWS - 1) // ROWS
        run = torch.repeat_interleave(torch.arange(len(kept)), counts)
        row = (torch.arange(len(run)) - (counts.cumsum(0) - counts)[run]) * ROWS
        room = (stop - start) * rank
        hidden = (room.cumsum(0) - room)[run] + row * rank[run]
        first = start[run] + row
        table = torch.stack((update[run], first, torch.minimum(first + ROWS, stop[run]), hidden, rank[run]), 1)
        reads_output = any(updates.reads_output for updates in kept)
        return cls(table.to(device), int(rank.max()), int(room.sum()), reads_output, kept)

    @classmethod
    def room(cls, rows: int, rank: int, nothing: Updates, *, reads_output: bool) -> Self:
        """For any tiles of up to `rows` rows and that rank, which `fill_` copies into it.

        Until then, and behind them, there are tiles of no rows, of an adapter that does `nothing`.
        """
        empty = torch.tensor([nothing.table.data_ptr(), 0, 0, 0, 0], device=nothing.table.device)
        return cls(empty.repeat(rows, 1), rank, rows * rank, reads_output, (nothing,))

    def fill_(self, tiles: Self) -> None:
        """Take other tiles, which are to be kept while these are used."""
        count = len(tiles.table)
        assert count <= len(self.table), "more tiles than there is room for"
        assert tiles.rank <= self.rank, "fewer ranks are computed than there are"
        assert tiles.hidden <= self.hidden, "no room for hidden values"
        assert self.reads_output or not tiles.reads_output, "fewer spans than outputs that are read"
        self.table[:count] = tiles.table
        self.table[count:, 0] = self.kept[0].table.data_ptr()
        self.table[count:, 1:] = 0
