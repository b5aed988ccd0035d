"""One thing that was looked at."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Level = Literal["ok", "warning", "broken"]


@dataclass(frozen=True)
class Finding:
    """What was found of one thing."""

    area: str
    """`versions`, `kernels`, `store` and so on."""
    name: str
    value: str
    level: Level = "ok"
    problem: str = ""
    """What is wrong and what to do; empty when it is ok."""
