"""Kahneman-Tversky optimization: answers that are good or bad by themselves."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

from pydantic import Field

from adapterhub import ConfigError
from adapterhub.method import BaseShape, Method, MethodConfig
from adapterhub.objective import Encoder, Fitting, Objective, ObjectiveBase, ObjectiveConfig, Run, on_head
from adapterhub.records import Feedback
from adapterhub_preference.rows import RatedRow, padding, rated_row


class KtoConfig(ObjectiveConfig):
    """Options of Kahneman-Tversky optimization."""

    beta: float = Field(default=0.1, gt=0)
    """How strongly the adapter is held to where it started."""
    loss_type: Literal["kto", "apo_zero_unpaired"] = "kto"
    """The loss, by TRL's name; `apo_zero_unpaired` leaves out the divergence from the start."""
    desirable_weight: float = Field(default=1.0, gt=0)
    """Weight of the good answers; raise it where they are few."""
    undesirable_weight: float = Field(default=1.0, gt=0)
    """Weight of the bad ones."""


class Kto(Objective[KtoConfig]):
    """`1 - sigmoid(beta (l - k))` for a good answer and `1 - sigmoid(beta (k - l))` for a bad one.

    l is the answer's log-probability less that which it had as the run started, k the batch's
    divergence from the start (Ethayarajh et al., 2024).
    """

    name = "kto"
    Config = KtoConfig
    records = (Feedback,)
    summary = "ratings: more of what is rated good and less of what is not, held to where the run started"

    def refuses(
        self, config: KtoConfig, method: Method[Any], options: MethodConfig | None, shape: BaseShape | None
    ) -> str:
        return on_head(method, options, shape)

    def prepare(
        self, config: KtoConfig, records: Sequence[Feedback], encoder: Encoder, base: ObjectiveBase
    ) -> list[RatedRow]:
        return [rated_row(record, encoder) for record in records]

    def fitting(self, config: KtoConfig, run: Run) -> Fitting:
        from trl.trainer.kto_config import KTOConfig

        from adapterhub_preference.kto_trainer import AdapterKTOTrainer

        if run.batch_size < 2 and config.loss_type == "kto":
            raise ConfigError("batch_size: objective kto compares the answers of a batch; need 2", field="batch_size")
        encoder = run.encoder
        settings = {
            **config.model_dump(),
            # Rows that are too long were refused; this cuts mismatched pairs, which nobody wrote.
            "max_length": min(encoder.max_length, encoder.room or encoder.max_length),
            "disable_dropout": False,  # a dropout is the method's option; those of the base are not to be changed
            "train_sampling_strategy": "sequential",
        }
        return Fitting(AdapterKTOTrainer, KTOConfig, settings, {"processing_class": padding(encoder.tokenizer)})

    def tokens(self, row: RatedRow) -> Sequence[int]:
        return row["prompt_ids"] + row["completion_ids"]
