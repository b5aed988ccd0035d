"""Pieces of grammars in Lark's notation."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

JSON_OPTIONS = {
    "whitespace_flexible": True,
    "whitespace_pattern": r" |\n[ \t]{0,24}",
    "item_separator": ",",
    "key_separator": ":",
    "lenient": False,
    "coerce_one_of": False,
}
"""At most one space or new line between the tokens of JSON: a model that drifts into more never comes out."""


def quoted(text: str) -> str:
    """A literal."""
    return json.dumps(text, ensure_ascii=False)


def json_of(schema: Mapping[str, Any]) -> str:
    """JSON that a schema takes, as llguidance writes it inside a grammar. What is not held is refused, not left out."""
    return f"%json {json.dumps({**schema, 'x-guidance': JSON_OPTIONS})}"


def alternatives(start: list[str], calls: list[str], rules: list[str] | None = None) -> str:
    """A grammar that begins with `start`, in which `call` is one of the calls."""
    named = [f"call_{number}: {call}" for number, call in enumerate(calls)]
    choice = "call: " + " | ".join(f"call_{number}" for number in range(len(calls)))
    return "\n".join([f"start: {' '.join(start)}", choice, *named, *(rules or ())]) + "\n"
