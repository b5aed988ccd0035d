"""One object of a file of training data."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any, NamedTuple

from adapterhub.errors import DataError

MAX_DEPTH = 100
"""Levels of lists and objects inside each other; what training data nest is a few."""


class Row(NamedTuple):
    """An object with its place."""

    line: int
    """The line of a JSONL or CSV file, else the row, counted from 1."""
    values: Mapping[str, Any]


Found = Row | DataError
"""What a reader finds: an object, or what is wrong in its place."""
Reader = Callable[[str, bytes], Iterator[Found]]
"""From what errors call a file, and its bytes, to its objects. Never raises for what is in them."""


def is_too_deep(value: Any) -> bool:
    """Whether lists and objects are nested more than MAX_DEPTH levels deep."""
    level = [value]
    for _ in range(MAX_DEPTH + 1):
        level = [
            inner
            for each in level
            if isinstance(each, list | dict)
            for inner in (each.values() if isinstance(each, dict) else each)
        ]
        if not level:
            return False
    return True


def is_unicode(value: Any) -> bool:
    """Whether all text in it can be written; JSON may hold halves of characters."""
    if isinstance(value, str):
        return value.isascii() or not any("\ud800" <= letter <= "\udfff" for letter in value)
    if isinstance(value, dict):
        return all(is_unicode(key) and is_unicode(inner) for key, inner in value.items())
    return not isinstance(value, list) or all(map(is_unicode, value))
