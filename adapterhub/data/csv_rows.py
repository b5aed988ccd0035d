"""CSV: a header, and a row of text for each object."""

from __future__ import annotations

import codecs
import csv
import io
from collections.abc import Iterator
from contextlib import contextmanager

from adapterhub.data.row import Found, Row
from adapterhub.errors import DataError

LONGEST = 2**31 - 1
"""Characters of a cell; the `csv` module's own limit is 131072, and a document may have more."""


def read_csv(name: str, content: bytes) -> Iterator[Found]:
    """The rows, by the line they begin in; blank lines are passed over. After a row that is no CSV, nothing is read."""
    try:
        text = content.removeprefix(codecs.BOM_UTF8).decode()
    except UnicodeDecodeError as error:
        line_start = content.rfind(b"\n", 0, error.start)
        yield DataError(name, content.count(b"\n", 0, error.start) + 1, f"not UTF-8 at byte {error.start - line_start}")
        return
    with _long_cells():
        rows = list(_rows(name, text))
    yield from rows


def _rows(name: str, text: str) -> Iterator[Found]:
    reader = csv.reader(io.StringIO(text, newline=""), strict=True)
    header: list[str] = []
    line = 1
    while True:
        try:
            cells = next(reader, None)
        except csv.Error as error:
            yield DataError(name, line, f"not CSV: {error}")
            return
        if cells is None:
            return
        begins, line = line, reader.line_num + 1
        if not cells or cells == [""]:
            continue
        if not header:
            header = [cell.strip() for cell in cells]
            if twice := [cell for cell in header if header.count(cell) > 1]:
                yield DataError(name, begins, f"the header has {twice[0]!r} twice")
                return
        elif len(cells) != len(header):
            yield DataError(name, begins, f"{len(cells)} cells, the header has {len(header)}")
        else:
            yield Row(begins, dict(zip(header, cells, strict=True)))


@contextmanager
def _long_cells() -> Iterator[None]:
    before = csv.field_size_limit(LONGEST)
    try:
        yield
    finally:
        csv.field_size_limit(before)
