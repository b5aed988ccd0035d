"""Arguments that were written as plain text, in the types that their schemas ask for."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from adapterhub.tool_calls.json_text import read_value

WORDS = {"True": True, "False": False, "None": None}
"""As templates write them that put Python's values into text."""


def typed(text: str, schema: Mapping[str, Any]) -> Any:
    """The value a text stands for. Where a string may be meant, and where it is nothing else, it is the text itself."""
    types = types_of(schema)
    if "null" in types and text in ("null", "None"):
        return None
    if not types or "string" in types:
        return text
    try:
        value, end = (WORDS[text], len(text)) if text in WORDS else read_value(text, 0)
    except ValueError:
        return text
    return value if not text[end:].strip() else text


def types_of(schema: Mapping[str, Any]) -> set[str]:
    """JSON Schema's names of the types that a schema names, at its top, in alternatives and by its choices."""
    named = schema.get("type")
    types = {named} if isinstance(named, str) else {each for each in named or () if isinstance(each, str)}
    for way in ("anyOf", "oneOf"):
        choices = schema.get(way)
        for choice in choices if isinstance(choices, list) else ():
            types |= types_of(choice) if isinstance(choice, Mapping) else set()
    return types or {_name_of(each) for each in choices_of(schema)}


def choices_of(schema: Mapping[str, Any]) -> list[Any]:
    """The values that a schema lists as the only ones; none where it does not."""
    if "const" in schema:
        return [schema["const"]]
    choices = schema.get("enum")
    return choices if isinstance(choices, list) else []


def _name_of(value: Any) -> str:
    names = {str: "string", bool: "boolean", int: "integer", float: "number", list: "array", dict: "object"}
    return names.get(type(value), "null")
