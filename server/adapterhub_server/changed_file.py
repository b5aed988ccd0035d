"""Changing a file of settings that other processes change too."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock, Timeout

from adapterhub.errors import UnavailableError

LOCK_SECONDS = 10.0


@contextmanager
def changing(path: Path) -> Iterator[None]:
    """Hold the lock of a file while it is read and written. Raises UnavailableError saying what is in the way."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with FileLock(path.with_name(f".{path.name}.lock"), timeout=LOCK_SECONDS):
            yield
    except Timeout:
        raise UnavailableError(f"{path}: held by another process for {LOCK_SECONDS:.0f} s") from None
    except OSError as error:
        raise UnavailableError(f"{path}: cannot be written: {error.strerror}") from None
