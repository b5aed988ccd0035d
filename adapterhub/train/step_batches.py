"""Which rows each step learns from, and each process of it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import torch
from torch.utils.data import Sampler
from transformers.trainer_pt_utils import get_length_grouped_indices

from adapterhub.train.processes import Processes


class StepBatches(Sampler[list[int]]):
    """Batches of rows, of about one length or as it comes, in an order that follows from seed and epoch alone.

    Of several processes, each gets its part of the very batch that one alone would get, every process at least one
    row: where an epoch's last batch has fewer rows than there are processes, rows stand twice in it.
    """

    def __init__(
        self,
        lengths: Sequence[int],
        *,
        rows: int,
        batches_a_step: int,
        by_length: bool,
        seed: int,
        processes: Processes,
    ) -> None:
        """`rows` of all processes together in a batch; `batches_a_step` of them make an optimizer step."""
        self._lengths = list(lengths)
        self._rows = rows
        self._grouped = rows * batches_a_step
        self._by_length = by_length
        self._seed = seed
        self._processes = processes
        self._epoch = 0

    def set_epoch(self, epoch: int) -> None:
        """Called before an epoch is iterated over."""
        self._epoch = epoch

    def __len__(self) -> int:
        return -(-len(self._lengths) // self._rows)

    def __iter__(self) -> Iterator[list[int]]:
        order = self._order(torch.Generator().manual_seed(self._seed + self._epoch))
        rank, count = self._processes.rank, self._processes.count
        for start in range(0, len(order), self._rows):
            batch = order[start : start + self._rows]
            yield batch[rank::count] or [batch[rank % len(batch)]]

    def _order(self, generator: torch.Generator) -> list[int]:
        if not self._by_length:
            return torch.randperm(len(self._lengths), generator=generator).tolist()
        order: list[int] = get_length_grouped_indices(  # type: ignore[no-untyped-call]
            self._lengths, self._grouped, generator=generator
        )
        return order
