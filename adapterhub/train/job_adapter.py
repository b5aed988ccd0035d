"""The adapter of a run, before it is on the base."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from adapterhub.method import Method, MethodConfig, Plan
from adapterhub.train.parent import Parent


@dataclass(frozen=True)
class JobAdapter:
    """What learns in a run, but for full fine-tuning."""

    method: Method[Any]
    options: MethodConfig
    plan: Plan
    parent: Parent | None
    """Where it starts; None for a fresh one."""
