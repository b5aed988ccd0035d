"""All of a base's weights for as long as they learn, and a model folder of what they became."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from safetensors import SafetensorError

from adapterhub.adapter import PROVENANCE_FILE, BaseRecord, write_json
from adapterhub.base.digest import base_digest
from adapterhub.train.job import TrainJob
from adapterhub.train.provenance import Figures, provenance
from adapterhub.train.result import TrainedModel


@contextmanager
def unfrozen(job: TrainJob) -> Iterator[Any]:
    """The base of `job`, all of whose parameters learn, in fp32; one that is the caller's is given back to the bit.

    Takes BYTES_PER_WEIGHT for each weight in all, and the weight once more where the base is the caller's.
    """
    model: Any = job.base.model
    kept = _Kept(model) if job.borrowed else None
    try:
        model.float().requires_grad_(True)
        yield model
    finally:
        if kept is not None:
            kept.give_back()


def save_model(job: TrainJob, model: Any, into: Path, figures: Figures) -> TrainedModel:
    """Write `model` to folder `into` in fp32: config, safetensors, tokenizer, record. Raises OSError."""
    into.mkdir(parents=True, exist_ok=True)
    model.config.use_cache = True
    try:
        model.save_pretrained(into)
    except SafetensorError as error:  # a full disk too
        raise OSError(str(error)) from None
    job.base.tokenizer.save_pretrained(into)
    record = provenance(job, figures)
    write_json(into / PROVENANCE_FILE, record.model_dump())
    return TrainedModel(BaseRecord(id=into.name, digest=base_digest(into)), record)


class _Kept:
    """A model as it is before it learns."""

    def __init__(self, model: Any) -> None:
        self._model = model
        self._use_cache = model.config.use_cache
        self._dtype = model.config.dtype
        tensors = [*model.parameters(), *model.buffers()]
        self._values = [(tensor, tensor.data.clone()) for tensor in tensors]

    def give_back(self) -> None:
        for tensor, value in self._values:
            tensor.data = value
            tensor.grad = None
        self._model.config.use_cache = self._use_cache
        self._model.config.dtype = self._dtype
        self._model.eval().requires_grad_(False)
