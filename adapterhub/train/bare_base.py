"""The bare base of a run, as its objective may use it."""

from __future__ import annotations

from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any

import torch

from adapterhub.base import BaseModel
from adapterhub.store import Store
from adapterhub.train.stored_on import stored_on


@dataclass(frozen=True)
class BareBase:
    """`adapterhub.objective.ObjectiveBase` of one run."""

    base: BaseModel

    @property
    def model(self) -> Any:
        return self.base.model

    @property
    def device(self) -> torch.device:
        return self.base.device

    @property
    def vocab_size(self) -> int:
        model: Any = self.base.model
        return int(model.get_output_embeddings().weight.shape[0])

    def adapted(self, ref: str) -> AbstractContextManager[Any]:
        return stored_on(self.base, Store.default().resolve(ref))
