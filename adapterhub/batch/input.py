"""The input of a batch: a file of requests that is never held whole."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

from adapterhub.batch.bad_entry import BadEntry
from adapterhub.batch.entry import Entry
from adapterhub.batch.openai_entry import KEYS, OpenAIEntry
from adapterhub.batch.own_entry import OwnEntry
from adapterhub.errors import InvalidInputError
from adapterhub.json_object import load_object


@dataclass(frozen=True)
class Checked:
    """What one pass over the whole file found."""

    sha256: str
    lines: int
    """Requests; empty lines are none."""
    refs: dict[str, int]
    """Adapters as the lines name them -> the first such line, in that order."""
    bad: int


class Input:
    """The file, open from the check to the last request, so that both read the same one."""

    def __init__(self, path: Path, file: BinaryIO, *, skip_bad: bool) -> None:
        self.path = path
        self._file = file
        self._skip_bad = skip_bad

    def check(self) -> Checked:
        """Reads every line. Without `skip_bad` raises InvalidInputError for the first that cannot be asked."""
        digest, lines, bad = hashlib.sha256(), 0, 0
        refs: dict[str, int] = {}
        keys: dict[str, int] = {}
        for number, raw in self._raw():
            digest.update(raw)
            if not raw.strip():
                continue
            lines += 1
            entry = self._parse(number, raw)
            if entry.key:
                first = keys.setdefault(entry.key, number)
                if first != number and not self._skip_bad:
                    raise InvalidInputError(
                        f"{self.path}: line {number}: custom_id: {entry.key!r} stands in line {first} too",
                        field="custom_id",
                    )
            if isinstance(entry, BadEntry):
                bad += 1
            else:
                for ref in entry.question.refs:
                    refs.setdefault(ref, number)
        return Checked(digest.hexdigest(), lines, refs, bad)

    def entries(self, first: int = 0, created: int = 0) -> Iterator[Entry]:
        """The requests from number `first` of them on, counted from 0; `created` is what results tell as their time."""
        filled = ((number, raw) for number, raw in self._raw() if raw.strip())
        for index, (number, raw) in enumerate(filled):
            if index >= first:
                yield self._parse(number, raw, created)

    def _raw(self) -> Iterator[tuple[int, bytes]]:
        self._file.seek(0)
        return enumerate(self._file, start=1)

    def _parse(self, number: int, raw: bytes, created: int = 0) -> Entry:
        values: dict[str, Any] = {}
        try:
            try:
                values = load_object(raw)
            except ValueError as error:
                raise InvalidInputError(f"line {number}: {error}") from None
            if KEYS & values.keys():
                return OpenAIEntry.of(number, values, created)
            return OwnEntry.of(number, values)
        except InvalidInputError as error:
            if not self._skip_bad:
                raise InvalidInputError(f"{self.path}: {error}", field=error.field) from None
            custom_id = values.get("custom_id")
            return BadEntry(number, custom_id if isinstance(custom_id, str) else None, error)
