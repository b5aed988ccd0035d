"""What a listing says of adapters, by digest, in one SQLite file: `index.sqlite`.

A digest is one content for ever, so a row is never stale; a missing row is made from the adapter's
files. The file is read as a whole and replaced as a whole. So two processes cannot hinder each other:
of two that replace it at once the last one wins, and what the other had found out is found out again. A
file that is damaged, or of another schema, counts as none.
"""

from __future__ import annotations

import json
import sqlite3
import zlib
from collections.abc import Iterable, Mapping
from contextlib import closing
from dataclasses import asdict, fields
from pathlib import Path
from typing import Any, NamedTuple, Self

from adapterhub.errors import CorruptAdapterError
from adapterhub.store.durable import write_durably
from adapterhub.store.manifest import Blob
from adapterhub.store.plain import plain_size
from adapterhub.store.ref import AdapterRef
from adapterhub.store.stored_adapter import StoredAdapter

_TABLE = "CREATE TABLE adapters (digest TEXT PRIMARY KEY, summary TEXT NOT NULL, sizes TEXT NOT NULL)"
_FIELDS = [field.name for field in fields(StoredAdapter) if field.name not in ("ref", "error")]
SCHEMA = zlib.crc32(" ".join([_TABLE, *_FIELDS]).encode()) >> 1
"""The file's `user_version`: another one when anything of the schema is another."""


class Summary(NamedTuple):
    """What is known of one digest."""

    values: Mapping[str, Any]
    """The fields of a StoredAdapter, but its `ref`."""
    sizes: Mapping[str, int]
    """Digests of its manifest and its files -> bytes."""

    @classmethod
    def of(cls, stored: StoredAdapter, blobs: Iterable[Blob]) -> Self:
        values = asdict(stored)
        return cls({name: values[name] for name in _FIELDS}, {blob.digest: blob.size for blob in blobs})

    def of_tag(self, ref: AdapterRef) -> StoredAdapter:
        """The line of a tag that holds it."""
        return StoredAdapter(ref, **self.values)


class Index:
    """The index in one file."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def read(self) -> dict[str, Summary]:
        """All rows by digest; none when there is no index, or one that cannot be used."""
        try:
            if not plain_size(self._path):
                return {}
            with closing(sqlite3.connect(":memory:")) as database:
                database.deserialize(self._path.read_bytes())
                if database.execute("PRAGMA user_version").fetchone() != (SCHEMA,):
                    return {}
                rows = database.execute("SELECT digest, summary, sizes FROM adapters").fetchall()
                return {digest: _summary(values, sizes) for digest, values, sizes in rows}
        except (OSError, sqlite3.Error, CorruptAdapterError, ValueError, TypeError):
            return {}

    def write(self, rows: Mapping[str, Summary]) -> None:
        """Make `rows` the index. Raises UnavailableError when the disk does not take it."""
        with closing(sqlite3.connect(":memory:")) as database:
            database.execute(_TABLE)
            database.execute(f"PRAGMA user_version = {SCHEMA}")
            database.executemany(
                "INSERT INTO adapters VALUES (?, ?, ?)",
                [(digest, json.dumps(row.values), json.dumps(row.sizes)) for digest, row in sorted(rows.items())],
            )
            database.commit()
            content = database.serialize()
        write_durably(self._path, content, mode=0o644)


def _summary(values: str, sizes: str) -> Summary:
    """Raises ValueError or TypeError for what is no row of ours."""
    summary = Summary(json.loads(values), json.loads(sizes))
    if set(summary.values) != set(_FIELDS) or not isinstance(summary.sizes, dict):
        raise ValueError
    return summary
