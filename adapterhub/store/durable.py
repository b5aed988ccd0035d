"""Writing a file so that a crash leaves the old one or the whole new one, never a part."""

from __future__ import annotations

import os
from pathlib import Path
from tempfile import NamedTemporaryFile

TEMPORARY = ".tmp-"
"""What the name of an unfinished file starts with."""


def write_durably(path: Path, content: bytes, *, mode: int = 0o444) -> None:
    """Replace `path` in one step, on disk when this returns. A crash may leave a `.tmp-*` beside it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with NamedTemporaryFile(dir=path.parent, prefix=TEMPORARY, delete=False) as file:
        try:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
            Path(file.name).chmod(mode)
            Path(file.name).replace(path)
        except BaseException:
            Path(file.name).unlink(missing_ok=True)
            raise
    sync_folder(path.parent)


def append_durably(path: Path, content: bytes) -> None:
    """Add to the end of a file that exists, on disk when this returns. A crash may leave a part of `content`."""
    with path.open("ab") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())


def remove_durably(path: Path) -> None:
    """Remove a file, for good when this returns."""
    path.unlink()
    sync_folder(path.parent)


def sync_folder(folder: Path) -> None:
    """Make a rename in `folder` survive a loss of power."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
