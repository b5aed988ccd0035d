"""What a captured decode step reads: tensors that stay where they are and are filled before each replay."""

from __future__ import annotations

import torch

from adapterhub.engine.attention import AttentionMap
from adapterhub.engine.block_table import BlockTable
from adapterhub.engine.kv_cache import KVCache
from adapterhub.engine.sequence import Chunk, cat_places


class DecodeInputs:
    """Of sequences with one row each, padded: a row that no sequence has is a base row at the cache's spare place.

    So is every place behind a row's own positions: attention reads what it does not count, and what is not finite
    would be counted all the same.
    """

    def __init__(self, rows: int, places: int, cache: KVCache) -> None:
        """For up to `rows` sequences of up to `places` positions."""
        device = cache.keys[0].device
        self._cache = cache
        self._numbers = torch.tensor([[0], [0], [1]], device=device).repeat(1, rows)
        self.ids, self.positions, self._lengths = self._numbers
        self.rows = torch.arange(rows, device=device)
        self._write = torch.full((rows,), cache.spare, device=device)
        self._places = torch.full((rows, places), cache.spare, device=device)
        self._filled: list[tuple[BlockTable | None, int]] = [(None, 0)] * rows
        """Whose places stand in each row, and of how many positions."""

    def fill(self, chunks: list[Chunk]) -> None:
        """Take a step's chunks, of one row each. Places that stand there from the last time are not copied again."""
        count = len(chunks)
        rest = len(self.rows) - count
        numbers = (
            [chunk.input_ids()[0] for chunk in chunks] + [0] * rest,
            [chunk.start for chunk in chunks] + [0] * rest,
            [chunk.stop for chunk in chunks] + [1] * rest,
        )
        self._numbers.copy_(torch.tensor(numbers))
        self._write[:count] = cat_places(chunks)
        self._write[count:] = self._cache.spare
        for index, chunk in enumerate(chunks):
            table, filled = self._filled[index]
            if table is not chunk.sequence.table or filled < chunk.start:
                self._places[index, : chunk.start] = chunk.places()[:-1]
                self._places[index, chunk.start :] = self._cache.spare
            self._filled[index] = chunk.sequence.table, chunk.stop
        for index in range(count, len(self.rows)):
            if self._filled[index][1]:
                self._places[index] = self._cache.spare
                self._filled[index] = None, 0

    def attention_map(self, dtype: torch.dtype) -> AttentionMap:
        """Where the rows read and write. Part of what is captured: it notes the place of each row's own position."""
        self._places.scatter_(1, self.positions.unsqueeze(1), self._write.unsqueeze(1))
        lengths = self._lengths.unsqueeze(1)
        return AttentionMap(self._cache, dtype, self._write, self.rows, self._places, lengths, [])
