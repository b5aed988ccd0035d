"""A store is plain files in plain folders: whatever else stands in the place of one is refused.

A link could lead out of the store, a pipe would never end. What is not covered: somebody who changes the
store's folders between this check and the use of the file; he could as well change the files.
"""

from __future__ import annotations

import os
import stat
from pathlib import Path

from adapterhub.errors import CorruptAdapterError


def plain_size(path: Path | str) -> int | None:
    """Bytes of a file; None when there is nothing. Raises CorruptAdapterError for anything but a plain file."""
    try:
        status = os.lstat(path)
    except FileNotFoundError:
        return None
    if not stat.S_ISREG(status.st_mode):
        raise CorruptAdapterError(f"{path}: not a plain file; a store holds no links")
    return status.st_size


def plain_folders(root: Path, *names: str) -> None:
    """Refuse a folder `root/names[0]/names[1]...`, or one above it, that is a link or a file: CorruptAdapterError."""
    here = str(root)
    for name in names:
        here = f"{here}/{name}"
        _is_folder(here)


def names_in(folder: Path) -> list[str]:
    """What a folder holds, sorted; nothing when it is not there. Raises CorruptAdapterError for a link to one."""
    if not _is_folder(folder):
        return []
    with os.scandir(folder) as entries:
        return sorted(entry.name for entry in entries)


def _is_folder(path: Path | str) -> bool:
    try:
        mode = os.lstat(path).st_mode
    except FileNotFoundError:
        return False
    if not stat.S_ISDIR(mode):
        raise CorruptAdapterError(f"{path}: not a plain folder; a store holds no links")
    return True
