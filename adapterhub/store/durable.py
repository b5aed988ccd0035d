"""Writing a file so that a crash leaves the old one or the whole new one, never a part.

A disk that is full, over its quota or read-only is an UnavailableError that says what was needed; the
unfinished file is gone then.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import NamedTemporaryFile

from adapterhub.errors import UnavailableError

TEMPORARY = ".tmp-"
"""What the name of an unfinished file starts with."""

_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
_NOT_WRITABLE = (errno.EROFS, errno.EACCES, errno.EPERM, errno.EIO)


def write_durably(path: Path, content: bytes, *, mode: int = 0o444) -> None:
    """Replace `path` in one step, on disk when this returns. A crash may leave a `.tmp-*` beside it.

    Raises UnavailableError when the disk does not take it.
    """
    with writing(path, len(content)):
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
    """Add to the end of a file that exists, on disk when this returns. A crash may leave a part of `content`.

    Raises UnavailableError when the disk does not take it.
    """
    with writing(path, len(content)), path.open("ab") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())


def remove_durably(path: Path) -> None:
    """Remove a file, for good when this returns. Raises UnavailableError when the disk does not let us."""
    with writing(path, 0):
        path.unlink()
        sync_folder(path.parent)


def sync_folder(folder: Path) -> None:
    """Make a rename in `folder` survive a loss of power."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


@contextmanager
def writing(path: Path, nbytes: int) -> Iterator[None]:
    """What the disk says to a change at `path` that needs `nbytes`, as an UnavailableError."""
    try:
        yield
    except OSError as error:
        if error.errno in _FULL:
            needed = f"needs {f'{nbytes:,} bytes' if nbytes else 'room'}; free some (`adapterhub gc`)"
        elif error.errno in _NOT_WRITABLE:
            needed = "needs a folder that can be written to"
        else:
            raise
        raise UnavailableError(f"{path.parent}: {error.strerror}: {needed}, or choose another store") from error
