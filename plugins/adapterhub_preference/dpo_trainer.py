"""TRL's DPO over adapters of any method."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from datasets import Dataset
from torch import Tensor
from trl.trainer.dpo_trainer import DPOTrainer

from adapterhub import tensors_kept
from adapterhub_preference.no_reference import NoReference
from adapterhub_preference.rows import PairRow


class AdapterDPOTrainer(DPOTrainer):
    """On rows that are token ids already; the reference is the model as it is when the trainer is made.

    Its log-probabilities of all rows are computed then, without dropout, and are columns of the rows.
    """

    def __init__(
        self,
        *,
        model: Any,
        args: Any,
        train_dataset: Sequence[PairRow],
        eval_dataset: Sequence[PairRow] | None,
        **settings: Any,
    ) -> None:
        reference: Any = NoReference(model.config)
        with tensors_kept(model):  # the reference is to have them unrounded
            super().__init__(
                model=model,
                ref_model=reference,
                args=args,
                train_dataset=Dataset.from_list([dict(row) for row in train_dataset]),
                eval_dataset=None if eval_dataset is None else Dataset.from_list([dict(row) for row in eval_dataset]),
                **settings,
            )
        self.ref_model = None
        self.precompute_ref_logps = True
        self.train_dataset = self._with_reference(train_dataset)
        if eval_dataset is not None:
            self.eval_dataset = self._with_reference(eval_dataset)

    def _prepare_dataset(self, dataset: Any, *args: Any, **kwargs: Any) -> Any:
        """The rows are prepared: their ids are those that serving has."""
        return dataset

    def _with_reference(self, rows: Sequence[PairRow]) -> Dataset:
        """The rows with `ref_chosen_logps` and `ref_rejected_logps`: log-probabilities of the answers, in nats."""
        size = self.args.per_device_eval_batch_size
        chosen: list[float] = []
        rejected: list[float] = []
        model: Any = self.model
        model.eval()
        for start in range(0, len(rows), size):
            batch = self.data_collator([dict(row) for row in rows[start : start + size]])
            with torch.no_grad():
                first, second = self._log_probs(model, self._prepare_inputs(batch)).chunk(2)
            chosen += first.tolist()
            rejected += second.tolist()
        columns = zip(rows, chosen, rejected, strict=True)
        return Dataset.from_list(
            [{**row, "ref_chosen_logps": first, "ref_rejected_logps": second} for row, first, second in columns]
        )

    def _log_probs(self, model: Any, batch: dict[str, Tensor]) -> Tensor:
        """Of each answer given its prompt, as the loss has them: [chosen and then rejected]."""
        labels = batch["input_ids"].masked_fill(batch["completion_mask"] == 0, -100)
        output = model(
            input_ids=batch["input_ids"],
            attention_mask=batch["attention_mask"],
            labels=labels,
            use_cache=False,
            fused_lm_head=True,
        )
        summed: Tensor = output.log_probs[:, 1 - labels.shape[1] :].sum(dim=1)
        return summed
