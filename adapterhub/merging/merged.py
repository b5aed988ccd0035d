"""What came of a merge."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal, NamedTuple

from adapterhub.adapter import Adapter, BaseRecord

if TYPE_CHECKING:
    import torch

    from adapterhub.merging.drift import Drift

Requantization = Literal["int8", "nf4"]


class Merged(NamedTuple):
    """A model that was written, and how far it is from what it replaces."""

    adapter: Adapter
    base: BaseRecord
    requantized: Requantization | None
    """How the base was held that it was merged into; None for the weights as its files have them."""
    dtype: torch.dtype
    """What its floating weights are written in."""
    merging: Drift
    """What merging changed, both in fp32 on the weights that were merged into; more than rounding is refused."""
    drift: Drift
    """What it is apart from the base, held so, with the adapter beside it: rounded, and where asked requantized."""
