"""Supervised fine-tuning, of instructions and of chats."""

from __future__ import annotations

from adapterhub.objective import Encoder, Example, LossObjective, ObjectiveConfig
from adapterhub.records import Pair


class SftConfig(ObjectiveConfig):
    """Options of supervised fine-tuning."""


class Sft(LossObjective[SftConfig]):
    """Cross entropy of the response's tokens, its closing one included, given the prompt."""

    name = "sft"
    Config = SftConfig
    records = (Pair,)
    summary = "supervised: give these responses to these prompts"

    def encode(self, config: SftConfig, record: Pair, encoder: Encoder) -> Example:
        return encoder.pair(record)
