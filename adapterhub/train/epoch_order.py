"""The order of examples: a function of the seed and the epoch alone, so that a resumed run meets the same ones."""

from __future__ import annotations

import random
from collections.abc import Iterator, Sized
from typing import TYPE_CHECKING, Any

import torch
from torch.utils.data import Sampler
from transformers import Trainer

if TYPE_CHECKING:
    Base = Trainer
else:
    Base = object


class EpochOrder(Base):
    """Mixed into the trainer of a run: whatever order its trainer draws, it draws from the epoch's own seed."""

    def _get_train_sampler(self, *args: Any, **kwargs: Any) -> Any:
        sampler = super()._get_train_sampler(*args, **kwargs)
        return EpochSampler(sampler, self.args.seed) if isinstance(sampler, Sized) else sampler


class EpochSampler(Sampler[int]):
    """What `sampler` gives, drawn anew from the seed and the epoch; the run's own generators do not move.

    transformers draws an epoch's order from the generators as they stand, and so it is another one when a run is
    resumed within the epoch.
    """

    def __init__(self, sampler: Any, seed: int) -> None:
        self._sampler = sampler
        self._seed = seed
        self._epoch = 0

    def set_epoch(self, epoch: int) -> None:
        """Called by the trainer before every epoch."""
        self._epoch = epoch

    def __len__(self) -> int:
        return len(self._sampler)

    def __iter__(self) -> Iterator[int]:
        seed = random.Random(f"{self._seed} {self._epoch}").getrandbits(32)  # noqa: S311  not a secret
        python = random.getstate()
        with torch.random.fork_rng(devices=[]):
            random.seed(seed)
            torch.manual_seed(seed)
            if isinstance(generator := getattr(self._sampler, "generator", None), torch.Generator):
                generator.manual_seed(seed)
            order = list(self._sampler)
        random.setstate(python)
        return iter(order)
