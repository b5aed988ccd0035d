"""The tag of a trial, out of what it is tried with. Needs no torch."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from typing import Any

SHORT = {"batch_size": "bs", "learning_rate": "lr", "max_steps": "steps"}
LONGEST = 80
SMALL = 0.01
"""Numbers below are written with an exponent."""


def tag_of(method: str, varied: Mapping[str, Any]) -> str:
    """Such as `lora-r16-lr1e-3`: the method, and each setting that is not the same in all trials of it."""
    parts = [method, *(_part(name, value) for name, value in varied.items())]
    tag = re.sub(r"[^a-z0-9._]+", "-", "-".join(parts).lower()).replace("..", ".").strip("-._")
    return tag if len(tag) <= LONGEST else marked(tag[:LONGEST], varied)


def marked(tag: str, varied: Mapping[str, Any]) -> str:
    """`tag` with a mark that no other values have."""
    mark = hashlib.sha256(json.dumps(varied, sort_keys=True, default=str).encode()).hexdigest()[:8]
    return f"{tag}-{mark}"


def _part(name: str, value: Any) -> str:
    text = "-".join(map(_text, value)) if isinstance(value, list) else _text(value)
    return f"{SHORT.get(name, name)}{'' if text[:1].isdigit() else '-'}{text}"


def _text(value: Any) -> str:
    """A number in as few characters as tell it."""
    if not isinstance(value, float) or value == 0 or SMALL <= abs(value) < 1 / SMALL:
        return str(value)
    mantissa, _, exponent = f"{value:.15e}".partition("e")
    return f"{mantissa.rstrip('0').rstrip('.')}e{int(exponent)}"
