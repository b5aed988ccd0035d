"""Pieces of grammars in Lark's notation."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any


def quoted(text: str) -> str:
    """A literal."""
    return json.dumps(text, ensure_ascii=False)


def json_of(schema: Mapping[str, Any]) -> str:
    """JSON that a schema takes, as llguidance writes it inside a grammar."""
    return f"%json {json.dumps(dict(schema))}"


def alternatives(start: list[str], calls: list[str], rules: list[str] | None = None) -> str:
    """A grammar that begins with `start`, in which `call` is one of the calls."""
    named = [f"call_{number}: {call}" for number, call in enumerate(calls)]
    choice = "call: " + " | ".join(f"call_{number}" for number in range(len(calls)))
    return "\n".join([f"start: {' '.join(start)}", choice, *named, *(rules or ())]) + "\n"
