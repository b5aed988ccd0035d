"""What a check of training data finds."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal, NamedTuple, Self

from adapterhub.errors import DataError

Severity = Literal["error", "warning"]
SHOWN = 5
"""Most places that one finding names."""


class Finding(NamedTuple):
    """One thing that is wrong, or looks so."""

    severity: Severity
    """An error stops training."""
    kind: str
    """What it is, in a word, for programs."""
    message: str
    """Starts with the file, and the line where it is one line's."""
    source: str
    line: int
    """The first line it is about; 0 where it is about the whole file."""
    records: int = 1
    """How many it is about; 0 where it is about the whole file."""

    @classmethod
    def of(cls, fault: DataError, kind: str) -> Self:
        """An error that reading or training raises."""
        return cls("error", kind, str(fault), fault.source, fault.line)

    @classmethod
    def warning(cls, kind: str, source: str, problem: str, lines: Sequence[int] = ()) -> Self:
        """A warning about the records in these lines; without lines, about the whole file."""
        line = lines[0] if lines else 0
        return cls("warning", kind, f"{source}: {problem}", source, line, len(lines))

    def as_json(self) -> dict[str, Any]:
        return self._asdict()


def some(places: Sequence[str]) -> str:
    """The first of them, and how many more there are."""
    more = len(places) - SHOWN
    return ", ".join(places[:SHOWN]) + (f" and {more} more" if more > 0 else "")


def counted(count: int, one: str, many: str) -> str:
    """`1 record repeats`, `3 records repeat`."""
    return f"{count} {one if count == 1 else many}"
