"""What stands where TRL keeps a reference model."""

from __future__ import annotations

from typing import Any

from torch import nn


class NoReference(nn.Module):
    """Given as the reference model while a trainer is made, and never run.

    Without one TRL adds a second adapter to the model, made anew: a start that rewrites the base's
    weights (PiSSA, say) would rewrite them again, and AdaLoRA takes no second one. The reference is
    known by its log-probabilities here, from before the first step.
    """

    def __init__(self, config: Any) -> None:
        super().__init__()
        self.config = config

    def forward(self) -> Any:
        raise AssertionError("the reference is known by its log-probabilities")
