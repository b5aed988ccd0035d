"""Supervised fine-tuning, of instructions and of chats."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from adapterhub.objective import Encoder, LossObjective, ObjectiveBase, ObjectiveConfig, Turns
from adapterhub.records import Chat, Pair


class SftConfig(ObjectiveConfig):
    """Options of supervised fine-tuning."""

    turns: Turns = "all"
    """Which of the assistant's turns in a conversation are learned: all or the last."""


class Sft(LossObjective[SftConfig]):
    """Cross entropy of the response's tokens, its closing one included, given all before them."""

    name = "sft"
    Config = SftConfig
    records = (Pair, Chat)
    summary = "supervised: give these responses to these prompts"

    def prepare(self, config: SftConfig, records: Sequence[Any], encoder: Encoder, base: ObjectiveBase) -> list[Any]:
        return [row for record in records for row in encoder.rows(record, config.turns)]
