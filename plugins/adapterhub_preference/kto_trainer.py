"""TRL's KTO over adapters of any method."""

from __future__ import annotations

import random
from collections.abc import Sequence
from typing import Any

import torch
from datasets import Dataset
from torch import Tensor
from trl.trainer.kto_trainer import KTOTrainer

from adapterhub import tensors_kept
from adapterhub_preference.no_reference import NoReference
from adapterhub_preference.rows import RatedRow


class AdapterKTOTrainer(KTOTrainer):
    """On rows that are token ids already; the reference is the model as it is when the trainer is made.

    The loss takes the divergence from the reference on mismatched pairs: each batch's completions
    moved on by one. So batches are made once, by the run's seed, and seen in that order.
    """

    def __init__(
        self,
        *,
        model: Any,
        args: Any,
        train_dataset: Sequence[RatedRow],
        eval_dataset: Sequence[RatedRow] | None,
        **settings: Any,
    ) -> None:
        rows = list(train_dataset)
        random.Random(args.seed).shuffle(rows)  # noqa: S311  not a secret
        size = args.per_device_train_batch_size
        train = _mismatched(rows, size)
        held_out = None if eval_dataset is None else _mismatched(eval_dataset, size)
        reference: Any = NoReference(model.config)
        with tensors_kept(model):  # the reference is to have them unrounded
            super().__init__(
                model=model,
                ref_model=reference,
                args=args,
                train_dataset=Dataset.from_list(train),
                eval_dataset=None if held_out is None else Dataset.from_list(held_out),
                **settings,
            )
        self.ref_model = None
        self.precompute_ref_logps = True
        self.train_dataset = self._with_reference(train)
        if held_out is not None:
            self.eval_dataset = self._with_reference(held_out)

    def _prepare_dataset(self, dataset: Any, *args: Any, **kwargs: Any) -> Any:
        """The rows are prepared: their ids are those that serving has."""
        return dataset

    def _with_reference(self, rows: list[dict[str, Any]]) -> Dataset:
        """The rows with `ref_logps` and `ref_KL_logps`: log-probabilities of both completions, in nats."""
        size = self.args.per_device_eval_batch_size
        names = {"": "ref_logps", "KL_": "ref_KL_logps"} if self.calculate_KL else {"": "ref_logps"}
        found: dict[str, list[float]] = {name: [] for name in names.values()}
        model: Any = self.model
        model.eval()
        for start in range(0, len(rows), size):
            batch = self._prepare_inputs(self.data_collator(rows[start : start + size]))
            for which, name in names.items():
                with torch.no_grad():
                    found[name] += _log_probs(model, batch, which).tolist()
        return Dataset.from_list([{**row, **{name: found[name][i] for name in found}} for i, row in enumerate(rows)])


def _log_probs(model: Any, batch: dict[str, Tensor], which: str) -> Tensor:
    """Of each completion given its prompt, as the loss has them: [rows]. `which` is `KL_` for the mismatched ones."""
    ids = batch[f"{which}input_ids"]
    labels = ids.masked_fill(batch[f"{which}completion_mask"] == 0, -100)
    mask = batch[f"{which}attention_mask"]
    output = model(input_ids=ids, attention_mask=mask, labels=labels, use_cache=False, fused_lm_head=True)
    summed: Tensor = output.log_probs[:, 1 - labels.shape[1] :].sum(dim=1)
    return summed


def _mismatched(rows: Sequence[RatedRow], size: int) -> list[dict[str, Any]]:
    """The rows with each batch's completions moved on by one, as `KL_completion_ids`."""
    batches = [rows[start : start + size] for start in range(0, len(rows), size)]
    return [
        {**row, "KL_completion_ids": batch[i - 1]["completion_ids"]} for batch in batches for i, row in enumerate(batch)
    ]
