"""Whether an adapter was worth training, in a line."""

from __future__ import annotations

from adapterhub.evaluate.evaluation import Difference

FEW = 20
"""Held-out examples below which the bootstrap's intervals say too little."""
ALREADY = "prompting already does it"


def verdict_of(difference: Difference, *, adapter: float, prompt: float, examples: int) -> str:
    """The verdict on one adapter against the best prompt; `adapter` and `prompt` are their figures, from 0 to 1."""
    if examples < FEW:
        return f"too few held-out examples to tell: {examples}, at least {FEW} are needed"
    if adapter == prompt == 0:
        return f"neither prompting nor fine-tuning does it: both have 0 % {difference.metric}"
    half = (difference.high - difference.low) / 2
    digits = 0 if half >= 2 and abs(difference.points) >= 10 else 1
    if difference.low > 0:
        return f"fine-tuning gains {difference.points:.{digits}f} ± {half:.{digits}f} points over the best prompt"
    if difference.high < 0:
        return f"{ALREADY}: the best prompt is {-difference.points:.{digits}f} ± {half:.{digits}f} points ahead"
    return (
        f"{ALREADY}: no difference is shown, the adapter has {difference.points:+.1f} points, "
        f"between {difference.low:+.1f} and {difference.high:+.1f}"
    )
