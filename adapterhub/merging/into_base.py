"""An adapter merged into its base: one model, which needs neither PEFT nor adapterhub to run.

    W' = round(W + dW)            into the unquantized base: in fp32, rounded once to the dtype of its files
    W' = Q(deQ(Q(W)) + dW)        requantized: where the adapter acts, from what the quantized base computes with

PEFT's own layers do the merging. What comes out is held against the base with the adapter beside it, over the
shipped general text, before anything is written where the user asked for it.

What is not covered: sharding by device; all of a model's fp32 weights are in memory, requantized also a copy.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn
from transformers.pytorch_utils import Conv1D

from adapterhub.adapter import Adapter, BaseRecord
from adapterhub.base import BaseFolder, base_digest, load_tokenizer, read_base
from adapterhub.base.weights_view import WeightsView
from adapterhub.errors import IntegrityError, InvalidInputError, UnsupportedAdapterError
from adapterhub.merging import reference
from adapterhub.merging.drift import Drift, logits_of
from adapterhub.merging.merged import Merged, Requantization
from adapterhub.merging.model_folder import round_to_files, tie_again, untie, write_card, write_model
from adapterhub.new_folder import new_folder
from adapterhub.peft.quiet_peft import quiet_peft
from adapterhub.plugins import fit, installed_methods, understand

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

    from adapterhub.base import Quantization
    from adapterhub.method import BaseShape, Plan

ROUNDING = 5e-4
"""Share of the largest logit by which a merged model in fp32 may differ; RandLoRA needs 1e-4, most need 1e-5."""


def merge(
    adapter: Adapter, into: Path, *, base: str = "", requantize: Requantization | None = None, replaces: str = ""
) -> Merged:
    """Write the base with `adapter` merged into it to the folder `into`; `base` by default as the adapter records it.

    Raises UnsupportedAdapterError for a method that is no change of weights, with the reason and before a weight is
    read, BaseMismatchError, IntegrityError when the merged model is not the base with the adapter, and as
    `BaseModel.load` and `new_folder`.
    """
    job = _Job.prepare(adapter, base, requantize or "none")
    with new_folder(into, replaces=replaces) as folder, TemporaryDirectory(dir=folder) as scratch:
        return job.run(folder, Path(scratch), requantize)


@dataclass(frozen=True)
class _Job:
    """An adapter and the base that it fits."""

    adapter: Adapter
    folder: BaseFolder
    shape: BaseShape
    plan: Plan
    record: BaseRecord
    tokenizer: PreTrainedTokenizerBase

    @classmethod
    def prepare(cls, adapter: Adapter, base: str, quantization: Quantization) -> _Job:
        """Everything that can be refused before a model is loaded."""
        method, config = understand(adapter, installed_methods())
        folder, shape = read_base(base or _recorded(adapter))
        plan = fit(adapter, method, config, shape, base=folder.id)
        if reason := method.unmergeable(config, shape):
            raise UnsupportedAdapterError(f"{adapter.name}: method {method.name} cannot be merged: {reason}")
        if quantization not in method.served_on:
            accepted = ", ".join(sorted(method.served_on))
            raise UnsupportedAdapterError(
                f"{adapter.name}: method {method.name} has no {quantization} base to be merged into ({accepted})"
            )
        record = BaseRecord(id=folder.id, revision=folder.revision, digest=base_digest(folder.path))
        adapter.check_base(record)
        return cls(adapter, folder, shape, plan, record, load_tokenizer(folder.path))

    def run(self, into: Path, scratch: Path, requantize: Requantization | None) -> Merged:
        """Merge, measure, write to `into`; `scratch` holds what is needed meanwhile."""
        files = scratch / "adapter"
        files.mkdir()
        self.adapter.copy_to(files)
        model = reference.load(self.folder.path, self.shape, "none")
        modules = dict(model.named_modules())  # as they are called before PEFT wraps them
        beside: Any = reference.beside(model, files, self.adapter.name)
        if self.shape.tied:
            untie(model, modules[self.shape.lm_head])
        wanted = self._dequantize(modules, files, requantize) if requantize else []
        with quiet_peft(), reference.peft_refuses(self.adapter.name):
            before = self._logits(beside)
            model = beside.merge_and_unload(safe_merge=True)
        exact = self._checked(before, self._logits(model))
        if self.shape.tied:
            tie_again(model)
        if requantize is None:
            dtype = round_to_files(model, self.folder.path)
            merged = Merged(self.adapter, self.record, None, dtype, exact, Drift.between(before, self._logits(model)))
            write_model(model, self.tokenizer, into, dtype=dtype)
        else:
            write_model(model, self.tokenizer, scratch / "model")
            again = reference.load(scratch / "model", self.shape, requantize)
            drift = Drift.between(wanted, self._logits(again))
            merged = Merged(self.adapter, self.record, requantize, torch.float32, exact, drift)
            write_model(again if requantize == "nf4" else model, self.tokenizer, into)
        write_card(merged, into)
        return merged

    def _dequantize(self, modules: Mapping[str, nn.Module], files: Path, quantization: Requantization) -> list[Tensor]:
        """The logits of the quantized base with the adapter beside it; its weights go where the adapter acts."""
        quantized = reference.load(self.folder.path, self.shape, quantization)
        weights = WeightsView(quantized)
        for name in {site.module for site in self.plan.sites}:
            if name in self.shape.modules and self.shape.modules[name].kind in ("linear", "conv1d"):
                module: Any = modules[name]
                weight = weights.weight(name)
                module.weight.data = weight.t().clone() if isinstance(module, Conv1D) else weight.clone()
        beside = reference.beside(quantized, files, self.adapter.name)
        with reference.peft_refuses(self.adapter.name):
            return self._logits(beside)

    def _logits(self, model: Any) -> list[Tensor]:
        return logits_of(model, self.tokenizer, positions=self.shape.max_positions)

    def _checked(self, before: list[Tensor], after: list[Tensor]) -> Drift:
        """Raises IntegrityError where merging in fp32 changed more than rounding does."""
        exact = Drift.between(before, after)
        if not exact.max <= ROUNDING * exact.largest_logit:  # nor where it is no number
            raise IntegrityError(
                f"{self.adapter.name}: merged, its logits differ by up to {exact.max:.3g} from those of the base with "
                f"the adapter beside it, of {exact.largest_logit:.3g} at most; accepted: {ROUNDING:g} of that"
            )
        return exact


def _recorded(adapter: Adapter) -> str:
    """What the adapter calls its base."""
    if adapter.base is None:
        raise InvalidInputError(f"{adapter.name}: its base is not recorded; name it by --base", field="base")
    return adapter.base.ref
