"""The output of a batch: a file that only grows, by whole lines in order.

How far a batch is, is how many lines its output has; nothing else counts them. A process that is killed leaves
at most the beginning of a line, which is cut when the batch goes on.
"""

from __future__ import annotations

import fcntl
import json
import os
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple, Self

from adapterhub.errors import ConflictError, InvalidInputError, UnavailableError

SYNC_SECONDS = 0.5
"""At most so much is lost with the machine's power; with the process, nothing."""


class Written(NamedTuple):
    """What an output holds already."""

    lines: int
    failed: int
    """Lines that hold an error."""


class Output:
    """The file, locked: one batch at a time writes it."""

    def __init__(self, path: Path, file: BinaryIO) -> None:
        self.path = path
        self._file = file
        self._synced = time.monotonic()

    @classmethod
    @contextmanager
    def open(cls, path: Path) -> Iterator[Self]:
        """Raises ConflictError when another process has it, and InvalidInputError where there cannot be a file."""
        try:
            with path.open("a+b") as file:
                try:
                    fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                except BlockingIOError:
                    raise ConflictError(f"{path}: another process is writing it") from None
                output = cls(path, file)
                try:
                    yield output
                finally:
                    output.sync()
        except (FileNotFoundError, IsADirectoryError, PermissionError, NotADirectoryError) as error:
            if error.filename != str(path):
                raise
            raise InvalidInputError(f"{path}: {error.strerror}", field="output") from None

    @property
    def nbytes(self) -> int:
        """How much it holds."""
        return os.fstat(self._file.fileno()).st_size

    def clear(self) -> None:
        """Forget everything."""
        self._file.truncate(0)

    def resume(self) -> Written:
        """Cut a line that was not finished; what stands before it. Raises ConflictError when that is no result."""
        self._file.seek(0)
        lines = failed = end = 0
        for raw in self._file:
            if not raw.endswith(b"\n"):
                self._file.truncate(end)
                break
            try:
                failed += is_failure(json.loads(raw))
            except (ValueError, AttributeError):
                raise ConflictError(
                    f"{self.path}: line {lines + 1} is no result of a batch; begin anew with --overwrite"
                ) from None
            lines, end = lines + 1, end + len(raw)
        return Written(lines, failed)

    def append(self, results: Iterable[dict[str, Any]]) -> None:
        """Write these lines. Raises UnavailableError when the disk does not take them."""
        text = "".join(f"{json.dumps(result, ensure_ascii=False)}\n" for result in results)
        try:
            self._file.write(text.encode())
            self._file.flush()
        except OSError as error:
            raise UnavailableError(
                f"{self.path}: {error.strerror}; with room for it, the same command goes on from there"
            ) from error
        if time.monotonic() - self._synced > SYNC_SECONDS:
            self.sync()

    def sync(self) -> None:
        """On disk when this returns."""
        os.fsync(self._file.fileno())
        self._synced = time.monotonic()


def is_failure(result: dict[str, Any]) -> bool:
    """Whether a line's result is an error."""
    response = result.get("response") or {}
    return result.get("error") is not None or response.get("status_code", 200) != 200
