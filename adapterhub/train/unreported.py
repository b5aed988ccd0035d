"""A trainer that tells nobody of its run."""

from __future__ import annotations

from typing import Any


class Unreported:
    """Mixed into the trainer of a run, in front of it: TRL's write a model card, and report each run to the Hub."""

    def _send_telemetry(self) -> None:
        """What is trained here, and that something is, stays here."""

    def create_model_card(self, *args: Any, **kwargs: Any) -> None:
        """The card is written when the adapter is published."""
