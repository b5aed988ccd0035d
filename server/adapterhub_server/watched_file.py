"""A file that is read again when it has changed, whoever changed it."""

from __future__ import annotations

import logging
from collections.abc import Callable
from pathlib import Path
from typing import Generic, TypeVar

from adapterhub.errors import AdapterHubError, UnavailableError

log = logging.getLogger(__name__)

T = TypeVar("T")


class WatchedFile(Generic[T]):
    """What a file says now. A file that cannot be read later on leaves what it said before, and is told in the log."""

    def __init__(self, path: Path, parse: Callable[[bytes], T]) -> None:
        """`parse` gets the content, nothing where there is no file. Raises what it raises, and UnavailableError."""
        self.path = path
        self._parse = parse
        self._stamp = _stamp(path)
        try:
            self._value = self._read()
        except OSError as error:
            raise UnavailableError(f"{path}: {error.strerror}") from None

    def value(self) -> T:
        """What it says now. Any thread."""
        stamp = _stamp(self.path)
        if stamp != self._stamp:
            self._stamp = stamp
            try:
                self._value = self._read()
            except (AdapterHubError, OSError) as error:
                log.error("what %s said before stays: %s", self.path.name, error)
        return self._value

    def _read(self) -> T:
        return self._parse(self.path.read_bytes() if self._stamp else b"")


def _stamp(path: Path) -> tuple[int, int, int] | None:
    """Another for another file; None when there is none."""
    try:
        status = path.stat()
    except FileNotFoundError:
        return None
    return status.st_mtime_ns, status.st_size, status.st_ino
