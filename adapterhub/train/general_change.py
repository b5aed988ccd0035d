"""What an adapter cost the base in general ability, as figures. Needs no torch."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple, Self


class GeneralChange(NamedTuple):
    """The loss on general text, in nats per token."""

    base: float
    adapter: float
    """Of the base with the adapter on it."""

    @classmethod
    def of(cls, figures: Mapping[str, float]) -> Self | None:
        """From a record's `forgetting`; None where it was not measured."""
        base, adapter = figures.get("general_loss_base"), figures.get("general_loss_adapter")
        return None if base is None or adapter is None else cls(base, adapter)

    @property
    def change(self) -> float:
        """Above zero: the base has forgotten."""
        return self.adapter - self.base

    def as_json(self) -> dict[str, float]:
        return {
            "general_loss_base": self.base,
            "general_loss_adapter": self.adapter,
            "general_loss_change": self.change,
        }

    def __str__(self) -> str:
        return f"{self.base:.2f} -> {self.adapter:.2f} ({self.change:+.2f} nats per token)"
