"""TRL's ORPO over adapters of any method. It is among TRL's experimental trainers."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from typing import Any

from adapterhub_preference.rows import PairRow

with warnings.catch_warnings():
    warnings.filterwarnings("ignore", "You are importing from 'trl.experimental'")  # the docs say it
    from trl.experimental.orpo import ORPOConfig, ORPOTrainer

__all__ = ["AdapterORPOTrainer", "ORPOConfig"]


class Encoded(list[dict[str, Any]]):
    """Rows that are token ids already: those that serving has. What would be done to texts leaves them as they are."""

    @classmethod
    def of(cls, rows: Sequence[PairRow]) -> Encoded:
        return cls({**_answer(row, "chosen"), **_answer(row, "rejected")} for row in rows)

    def map(self, *args: Any, **kwargs: Any) -> Encoded:
        return self


class AdapterORPOTrainer(ORPOTrainer):
    """On rows that are token ids already."""

    def __init__(
        self, *, train_dataset: Sequence[PairRow], eval_dataset: Sequence[PairRow] | None, **settings: Any
    ) -> None:
        held_out = None if eval_dataset is None else Encoded.of(eval_dataset)
        super().__init__(train_dataset=Encoded.of(train_dataset), eval_dataset=held_out, **settings)

    def training_step(self, model: Any, inputs: dict[str, Any], *args: Any, **kwargs: Any) -> Any:
        """Counts the tokens, which are not under the names that transformers knows."""
        seen = inputs["chosen_attention_mask"].sum() + inputs["rejected_attention_mask"].sum()
        self.state.num_input_tokens_seen += int(self.accelerator.gather(seen.to(self.args.device)).sum())
        return super().training_step(model, inputs, *args, **kwargs)


def _answer(row: PairRow, which: str) -> dict[str, list[int]]:
    """One answer after its prompt, under the names of TRL's collator."""
    prompt: list[int] = row["prompt_ids"]
    answer: list[int] = row["chosen_ids"] if which == "chosen" else row["rejected_ids"]
    return {
        f"{which}_input_ids": prompt + answer,
        f"{which}_attention_mask": [1] * (len(prompt) + len(answer)),
        f"{which}_labels": [-100] * len(prompt) + answer,
    }
