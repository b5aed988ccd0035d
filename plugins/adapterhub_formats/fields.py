"""Single values of an object, checked. Every function raises ValueError saying what is wrong."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

KINDS = {"str": "text", "dict": "object", "NoneType": "null"}
"""What users call Python's types."""


def text(values: Mapping[str, Any], key: str) -> str:
    """The text under `key`, which must be there and not blank."""
    if key not in values:
        raise ValueError(f"no {key!r}")
    if not isinstance(values[key], str):
        raise ValueError(f"{key!r} is not text but {type(values[key]).__name__}")
    if not values[key].strip():
        raise ValueError(f"{key!r} is empty")
    return str(values[key])


def optional_text(values: Mapping[str, Any], key: str) -> str:
    """The text under `key`; empty where there is none."""
    value = values.get(key)
    if value is not None and not isinstance(value, str):
        raise ValueError(f"{key!r} is not text but {type(value).__name__}")
    return value if value and value.strip() else ""


def objects(values: Mapping[str, Any], key: str) -> list[dict[str, Any]]:
    """The list of objects under `key`, or as JSON in text; empty where there is none."""
    value = values.get(key)
    if isinstance(value, str):
        value = from_json(value, key) if value.strip() else None
    if value is None:
        return []
    if not isinstance(value, list):
        raise ValueError(f"{key!r} is not a list but {kind(value)}")
    for number, each in enumerate(value, start=1):
        if not isinstance(each, dict):
            raise ValueError(f"{key!r}: entry {number} is not an object but {kind(each)}")
    return list(value)


def from_json(value: str, name: str) -> Any:
    """What text says in JSON."""
    try:
        return json.loads(value)
    except (ValueError, RecursionError):
        raise ValueError(f"{name!r} is text, and not JSON") from None


def kind(value: Any) -> str:
    """What users call the type of a value."""
    name = type(value).__name__
    return KINDS.get(name, name)
