"""Files of a run that are there whole or not at all, and a disk that does not take them."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from safetensors import SafetensorError

from adapterhub.errors import UnavailableError

TORCH_WRITER = ("PytorchStreamWriter", "inline_container")
"""What is in torch's message when its writer could not write; it names no reason."""


@contextmanager
def written(place: Path, what: str) -> Iterator[None]:
    """Around writing to `place`: what the disk says to it, as an UnavailableError that names it and what to do."""
    try:
        yield
    except (OSError, SafetensorError, RuntimeError) as error:
        if isinstance(error, RuntimeError) and not any(name in str(error) for name in TORCH_WRITER):
            raise
        reason = (error.strerror or str(error)) if isinstance(error, OSError) else _reason(error)
        raise UnavailableError(
            f"{place}: {what} could not be written: {reason}; needs room on a disk that can be written to"
        ) from error


def replace_text(path: Path, text: str) -> None:
    """Put `text` in place of what `path` holds, in one step, on disk when this returns."""
    partial = path.with_name(f".{path.name}.partial")
    try:
        with partial.open("w", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)


def sync_tree(folder: Path) -> None:
    """Make every file below `folder` survive a loss of power."""
    for path in [folder, *folder.rglob("*")]:
        descriptor = os.open(path, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def _reason(error: Exception) -> str:
    """What torch says of its own file format tells nobody anything."""
    return "a file did not get whole to the disk" if isinstance(error, RuntimeError) else str(error)
