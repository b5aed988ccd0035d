"""Odds ratio preference optimization."""

from __future__ import annotations

from collections.abc import Sequence

from pydantic import Field

from adapterhub.objective import Encoder, Fitting, Objective, ObjectiveBase, ObjectiveConfig, Run
from adapterhub.records import Preference
from adapterhub_preference.rows import PairRow, padding, pair_row


class OrpoConfig(ObjectiveConfig):
    """Options of odds ratio preference optimization."""

    beta: float = Field(default=0.1, gt=0)
    """Weight of the preference beside the loss of the chosen answer; lambda in the paper."""


class Orpo(Objective[OrpoConfig]):
    """The loss of prompt and chosen answer, less `beta log sigmoid` of the answers' log odds ratio.

    The odds are of the mean log-probability of a token; there is no reference (Hong et al., 2024).
    """

    name = "orpo"
    Config = OrpoConfig
    records = (Preference,)
    summary = "preferences and supervision in one: give the chosen answer, and rather than the rejected one"

    def prepare(
        self, config: OrpoConfig, records: Sequence[Preference], encoder: Encoder, base: ObjectiveBase
    ) -> list[PairRow]:
        return [pair_row(record, encoder) for record in records]

    def fitting(self, config: OrpoConfig, run: Run) -> Fitting:
        from adapterhub_preference.orpo_trainer import AdapterORPOTrainer, ORPOConfig

        settings = {
            "beta": config.beta,
            "max_length": run.encoder.max_length,  # what is longer was refused
            "disable_dropout": False,  # a dropout is the method's option; those of the base are not to be changed
            "include_num_input_tokens_seen": "no",  # the trainer counts them
        }
        return Fitting(AdapterORPOTrainer, ORPOConfig, settings, {"processing_class": padding(run.encoder.tokenizer)})

    def tokens(self, row: PairRow) -> Sequence[int]:
        return row["prompt_ids"] + row["chosen_ids"]
