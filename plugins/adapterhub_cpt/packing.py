"""Documents packed into rows."""

from __future__ import annotations

from bisect import bisect_left, insort
from collections.abc import Sequence
from typing import TYPE_CHECKING, TypedDict

from adapterhub.objective import Example

if TYPE_CHECKING:
    from torch import Tensor


class PackedRow(TypedDict):
    """Several documents one behind the other. The first token of each is not in the loss."""

    input_ids: list[int]
    labels: list[int]
    documents: list[int]
    """The number of tokens of each."""


def packed(examples: Sequence[Example], size: int) -> list[PackedRow]:
    """All `examples`, each whole, in rows of at most `size` tokens.

    The longest first, each into the row that it fills best: at most 11/9 of the fewest rows there could be.
    """
    rows: list[PackedRow] = []
    space: list[tuple[int, int]] = []
    """(tokens left, row) of every row, the fullest first."""
    for example in sorted(examples, key=lambda example: -len(example["input_ids"])):
        length = len(example["input_ids"])
        place = bisect_left(space, (length, 0))
        if place == len(space):
            rows.append(PackedRow(input_ids=[], labels=[], documents=[]))
            space.append((size, len(rows) - 1))
        left, chosen = space.pop(place)
        row = rows[chosen]
        row["input_ids"] += example["input_ids"]
        row["labels"] += example["labels"]
        row["documents"].append(length)
        insort(space, (left - length, chosen))
    return rows


def position_ids(rows: Sequence[PackedRow], *, width: int) -> Tensor:
    """Positions that start again at each document, and at the pads: [rows, width]."""
    import torch

    lengths = [[*row["documents"], width - len(row["input_ids"])] for row in rows]
    return torch.stack([torch.cat([torch.arange(length) for length in each]) for each in lengths])
