"""The general text on which forgetting is measured: the shipped one, or a file of the user's. Needs no torch."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple, Self

from adapterhub.errors import DataError, InvalidInputError
from adapterhub.general_text import GENERAL_TEXT, general_text_digest

TELLING = 40
"""Characters of a paragraph that stands in other text by no accident."""


class Probe(NamedTuple):
    """Paragraphs, each measured by itself."""

    paragraphs: tuple[str, ...]
    source: str = ""
    """The file, for errors; empty for the shipped text."""

    @classmethod
    def of(cls, path: Path | None) -> Self:
        """The shipped text, or that of a file: plain, with blank lines between paragraphs, or JSONL of `{"text": ...}`.

        Raises InvalidInputError when there is no such file, and DataError naming the line.
        """
        if path is None:
            return cls(GENERAL_TEXT)
        if not path.is_file():
            raise InvalidInputError(f"{path}: no such file", field="probe")
        raw = path.read_bytes()
        found = objects_of(path, raw) if path.suffix == ".jsonl" else paragraphs_of(path, raw)
        paragraphs = tuple(text for _, text in found)
        if not paragraphs:
            raise DataError(path, 1, "no text in the file")
        return cls(paragraphs, str(path))

    @property
    def digest(self) -> str:
        """`sha256:` digest of the paragraphs; figures on different text are not to be compared."""
        return general_text_digest(self.paragraphs)

    def holds(self, text: str) -> bool:
        """Whether one of the paragraphs stands in `text`, however the two are spaced; a short one must be all of it."""
        spaced = " ".join(text.split())
        return any(each == spaced or (len(each) >= TELLING and each in spaced) for each in self._spaced)

    @property
    def _spaced(self) -> Iterator[str]:
        return (" ".join(paragraph.split()) for paragraph in self.paragraphs)


def paragraphs_of(path: Path, raw: bytes) -> Iterator[tuple[int, str]]:
    """The paragraphs of plain text, with the lines they begin at; blank lines part them. Raises DataError."""
    first, lines = 1, list[str]()
    for number, line in enumerate([*_decoded(path, raw).splitlines(), ""], start=1):
        if line.strip():
            first = first if lines else number
            lines.append(line)
        elif lines:
            yield first, "\n".join(lines).strip()
            lines = []


def objects_of(path: Path, raw: bytes) -> Iterator[tuple[int, str]]:
    """The texts of JSONL, with their lines. Raises DataError naming the line that is not `{"text": ...}`."""
    for number, line in enumerate(_decoded(path, raw).split("\n"), start=1):
        if not line.strip():
            continue
        try:
            values = json.loads(line)
        except (json.JSONDecodeError, RecursionError):
            values = None
        found = values.get("text") if isinstance(values, dict) else None
        if not isinstance(found, str) or not found.strip():
            raise DataError(path, number, 'not {"text": text}')
        yield number, found.strip()


def _decoded(path: Path, raw: bytes) -> str:
    try:
        return raw.decode("utf-8")
    except UnicodeDecodeError as error:
        raise DataError(path, raw.count(b"\n", 0, error.start) + 1, "not UTF-8") from None
