"""A folder that is there whole or not at all. Needs no torch."""

from __future__ import annotations

import os
import secrets
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from adapterhub.errors import ConflictError, UnavailableError


def check_free(folder: Path, *, replaces: str = "") -> None:
    """Raises ConflictError when `folder` is there and not empty, unless it holds a file `replaces` and so may go."""
    if not os.path.lexists(folder):
        return
    if folder.is_symlink() or not folder.is_dir():
        raise ConflictError(f"{folder}: is there, and no folder")
    if any(folder.iterdir()) and not (replaces and (folder / replaces).is_file()):
        hint = f" and has no {replaces}: it is never replaced" if replaces else "; --force replaces it"
        raise ConflictError(f"{folder}: not empty{hint}")


@contextmanager
def new_folder(folder: Path, *, replaces: str = "") -> Iterator[Path]:
    """A folder beside `folder` to write to, which is renamed to it at the end and removed when that fails.

    A process that is killed leaves it behind, as `.<name>.<random>`. Where another folder is replaced, it is
    moved away first and removed after. Raises as `check_free`, and UnavailableError when the disk cannot be
    written.
    """
    folder = Path(os.path.abspath(folder))  # noqa: PTH100  (`..` has no name to put a mark behind)
    check_free(folder, replaces=replaces)
    mark = secrets.token_hex(4)
    partial, old = (folder.with_name(f".{folder.name}.{mark}{end}") for end in ("", ".old"))
    try:
        partial.mkdir(parents=True)
        yield partial
        if replaces and folder.is_dir():
            folder.rename(old)
        partial.rename(folder)
    except OSError as error:
        if not folder.exists() and old.exists():
            old.rename(folder)
        raise UnavailableError(f"{folder}: cannot be written: {error.strerror or error}") from None
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    shutil.rmtree(old, ignore_errors=True)
