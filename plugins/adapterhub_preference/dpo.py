"""Direct preference optimization."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

from pydantic import Field, model_validator

from adapterhub.method import BaseShape, Method, MethodConfig
from adapterhub.objective import Encoder, Fitting, Objective, ObjectiveBase, ObjectiveConfig, Run, on_head
from adapterhub.records import Preference
from adapterhub_preference.rows import PairRow, padding, pair_row

Loss = Literal[
    "sigmoid",
    "sigmoid_norm",
    "hinge",
    "ipo",
    "exo_pair",
    "nca_pair",
    "robust",
    "apo_zero",
    "apo_down",
    "sppo_hard",
]
"""TRL's losses that look at each pair by itself. Not those that compare the pairs of a batch (bco_pair, aot)."""
SMOOTHED = ("robust", "exo_pair")


class DpoConfig(ObjectiveConfig):
    """Options of direct preference optimization."""

    beta: float = Field(default=0.1, gt=0)
    """How strongly the adapter is held to where it started; for `ipo`, its tau."""
    loss_type: Loss = "sigmoid"
    """The loss of a pair, by TRL's name; `sigmoid` is that of the DPO paper."""
    label_smoothing: float = Field(default=0.0, ge=0, lt=0.5)
    """For `robust`, the share of pairs that are taken to be the wrong way round; for `exo_pair`, its epsilon."""

    @model_validator(mode="after")
    def _smoothed(self) -> DpoConfig:
        if self.label_smoothing and self.loss_type not in SMOOTHED:
            raise ValueError(f"label_smoothing has no effect on {self.loss_type!r} (it has on: {', '.join(SMOOTHED)})")
        if self.loss_type == "exo_pair" and not self.label_smoothing:
            raise ValueError("exo_pair needs a label_smoothing over 0; its authors take 0.001")
        return self


class Dpo(Objective[DpoConfig]):
    """`-log sigmoid(beta ((c - c0) - (r - r0)))` for the log-probabilities c and r of the two answers.

    c0 and r0 are those of the model as the run started (Rafailov et al., 2023).
    """

    name = "dpo"
    Config = DpoConfig
    records = (Preference,)
    summary = "preferences: rather the chosen answer than the rejected one, held to where the run started"

    def refuses(
        self, config: DpoConfig, method: Method[Any], options: MethodConfig | None, shape: BaseShape | None
    ) -> str:
        return on_head(method, options, shape)

    def prepare(
        self, config: DpoConfig, records: Sequence[Preference], encoder: Encoder, base: ObjectiveBase
    ) -> list[PairRow]:
        return [pair_row(record, encoder) for record in records]

    def fitting(self, config: DpoConfig, run: Run) -> Fitting:
        from trl.trainer.dpo_config import DPOConfig

        from adapterhub_preference.dpo_trainer import AdapterDPOTrainer

        settings = {
            **config.model_dump(),
            "loss_type": [config.loss_type],
            "max_length": None,  # what is too long was refused
            "disable_dropout": False,  # a dropout is the method's option; those of the base are not to be changed
        }
        return Fitting(AdapterDPOTrainer, DPOConfig, settings, {"processing_class": padding(run.encoder.tokenizer)})

    def tokens(self, row: PairRow) -> Sequence[int]:
        return row["prompt_ids"] + row["chosen_ids"]
