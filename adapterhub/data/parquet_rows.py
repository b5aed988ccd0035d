"""Parquet: columns of values."""

from __future__ import annotations

from collections.abc import Iterator

from adapterhub.data.row import Found, Row
from adapterhub.errors import DataError

BATCH = 1000
"""Rows that are made into Python's values at once."""


def read_parquet(name: str, content: bytes) -> Iterator[Found]:
    """The rows, counted from 1. After a part that cannot be read, nothing is."""
    import pyarrow as pa  # here, so that listings need not wait for it
    from pyarrow import parquet

    row = 0
    try:
        file = parquet.ParquetFile(pa.BufferReader(content))
        for batch in file.iter_batches(batch_size=BATCH):
            for values in batch.to_pylist():
                row += 1
                yield Row(row, values)
    except (pa.ArrowException, OSError, ValueError, TypeError) as error:
        reason = " ".join(str(error).split())[:200]
        yield DataError(name, row + 1, f"not Parquet that can be read: {reason}")
