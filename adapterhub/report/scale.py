"""Round numbers along an axis."""

from __future__ import annotations

import math
from typing import NamedTuple, Self


class Scale(NamedTuple):
    """A range that is cut at round numbers."""

    low: float
    high: float
    ticks: tuple[float, ...]

    @classmethod
    def over(cls, low: float, high: float, *, wanted: int = 5, whole: bool = False) -> Self:
        """From a tick at or below `low` to one at or above `high`, some `wanted` steps apart."""
        span = max(high - low, abs(high) * 1e-3, 1e-9)
        rough = span / wanted
        power = 10.0 ** math.floor(math.log10(rough))
        step = next(power * factor for factor in (1, 2, 5, 10) if power * factor >= rough * (1 - 1e-9))
        if whole:
            step = max(1, round(step))
        first, last = math.floor(low / step + 1e-9), math.ceil(high / step - 1e-9)
        ticks = tuple(round(index * step, 12) for index in range(first, max(last, first + 1) + 1))
        return cls(ticks[0], ticks[-1], ticks)

    def place(self, value: float) -> float:
        """0 at the low end, 1 at the high one."""
        return (value - self.low) / (self.high - self.low)
