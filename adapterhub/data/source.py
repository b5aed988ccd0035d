"""Where training data come from: a file here, or files of a data set on the Hub."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path, PurePath
from typing import NamedTuple

from adapterhub.data.csv_rows import read_csv
from adapterhub.data.hub_files import HubData, fetch
from adapterhub.data.hub_ref import PREFIX
from adapterhub.data.json_rows import read_json, read_jsonl
from adapterhub.data.parquet_rows import read_parquet
from adapterhub.data.row import Found, Reader, Row
from adapterhub.errors import DataError, InvalidInputError, did_you_mean

READERS: Mapping[str, Reader] = {
    ".csv": read_csv,
    ".json": read_json,
    ".jsonl": read_jsonl,
    ".ndjson": read_jsonl,
    ".parquet": read_parquet,
}
"""By the end of a file's name."""


class Source(NamedTuple):
    """Files that are one data set, in order."""

    name: str
    """What errors call it."""
    hub: str
    """`hf:org/name@commit:config/split`; empty when it is a file here."""
    sha256: str
    """Of the file's bytes; of several files, of their digests in order."""
    rows: Callable[[], Iterator[Found]]
    """The objects; those of several files are counted through."""


def open_source(data: Path | str) -> Source:
    """What `data` names: a file, or a data set of the Hub.

    Raises InvalidInputError naming what is accepted, NotFoundError, AuthError and UnavailableError.
    """
    if str(data).startswith(PREFIX):
        found = fetch(str(data))
        files = [(f"{found.at}/{file.name}", file.path) for file in found.files]
        return _source(found, files)
    path = Path(data).expanduser()
    if not path.is_file():
        problem = "a folder, not a file" if path.is_dir() else "no such file"
        raise InvalidInputError(f"{data}: {problem}", field="data")
    return _source(None, [(str(data), path)])


def reader_of(name: str) -> Reader:
    """What reads a file of that name. Raises InvalidInputError listing what is accepted."""
    suffix = PurePath(name).suffix.lower()
    if suffix not in READERS:
        near = did_you_mean(suffix, READERS)
        raise InvalidInputError(
            f"{name}: not a known kind of file, {suffix or 'without an ending'}{near} (accepted: {', '.join(READERS)})",
            field="data",
        )
    return READERS[suffix]


def _source(hub: HubData | None, files: list[tuple[str, Path]]) -> Source:
    read = []
    for name, path in files:
        reader = reader_of(path.name if hub is None else name)
        try:
            read.append((name, path.read_bytes(), reader))
        except OSError as error:
            raise InvalidInputError(f"{name}: {error.strerror or error}", field="data") from None
    digests = [hashlib.sha256(content).hexdigest() for _, content, _ in read]
    digest = digests[0] if len(digests) == 1 else hashlib.sha256("".join(digests).encode()).hexdigest()
    name = files[0][0] if len(files) == 1 or hub is None else hub.ref

    def rows() -> Iterator[Found]:
        before = last = 0
        for each, content, reader in read:
            for found in reader(each, content):
                if isinstance(found, DataError) or len(read) == 1:
                    yield found
                else:
                    last = before + found.line
                    yield Row(last, found.values)
            before = last

    return Source(name, hub.ref if hub else "", digest, rows)
