"""Room for files that one part of the bench needs while it runs."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

from benchmarks.work import Bench


@contextmanager
def work_folder(bench: Bench) -> Iterator[Path]:
    """In the bench's cache, which has room for gigabytes where a system's temporary folder may be memory."""
    bench.cache.mkdir(parents=True, exist_ok=True)
    with TemporaryDirectory(dir=bench.cache) as folder:
        yield Path(folder)
