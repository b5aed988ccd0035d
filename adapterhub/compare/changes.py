"""What differs between two records, key by key. Needs no torch."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Literal, NamedTuple


class Change(NamedTuple):
    """One key that is not the same in both."""

    kind: Literal["added", "removed", "changed"]
    key: str
    """Keys of nested records are joined by dots."""
    before: Any
    """None where it was added."""
    after: Any
    """None where it was removed."""


def changes(before: Mapping[str, Any], after: Mapping[str, Any]) -> tuple[Change, ...]:
    """From one to the other, sorted by key."""
    old, new = dict(_leaves(before)), dict(_leaves(after))
    found = []
    for key in sorted(old.keys() | new.keys()):
        if key not in old:
            found.append(Change("added", key, None, new[key]))
        elif key not in new:
            found.append(Change("removed", key, old[key], None))
        elif old[key] != new[key]:
            found.append(Change("changed", key, old[key], new[key]))
    return tuple(found)


def _leaves(record: Mapping[str, Any], above: str = "") -> Iterator[tuple[str, Any]]:
    for key, value in record.items():
        if isinstance(value, Mapping) and value:
            yield from _leaves(value, f"{above}{key}.")
        else:
            yield f"{above}{key}", value
