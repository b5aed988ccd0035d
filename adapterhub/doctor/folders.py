"""The folders of the store and of the cache: whether they can be used, and what lies in them that should not."""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Iterator
from pathlib import Path

from rich.filesize import decimal

from adapterhub.doctor.finding import Finding
from adapterhub.settings import effective
from adapterhub.store import Store

LITTLE = 1 << 30
"""Bytes of free disk below which a base or a training run may not fit."""
STALE_SECONDS = 3600
"""A temporary file this old belongs to no publish that still runs."""


def cache() -> Iterator[Finding]:
    """What can be made again."""
    yield from _usable("cache", effective().settings.cache)


def store() -> Iterator[Finding]:
    """The adapters; one that cannot be read is named."""
    found = Store.default()
    yield from _usable("store", found.root)
    listed = found.list()
    yield Finding("store", "adapters", str(len(listed)))
    for stored in listed:
        if stored.error:
            yield Finding("store", stored.ref.label, "unreadable", "broken", stored.error)
    if stale := _stale(found.root):
        yield Finding(
            "store",
            "temporary files",
            f"{len(stale)}, {decimal(sum(stale))}",
            "warning",
            "left by a process that was killed; `adapterhub gc` removes them",
        )


def _usable(area: str, folder: Path) -> Iterator[Finding]:
    """Where it is or would be, whether it can be written, and how much room there is."""
    there = next(path for path in (folder, *folder.absolute().parents) if path.exists())
    if there.is_dir() and os.access(there, os.W_OK | os.X_OK):
        yield Finding(area, "folder", f"{folder}" if there == folder else f"{folder} (not there yet)")
    else:
        yield Finding(area, "folder", str(folder), "broken", f"{there} is not a folder that can be written")
    free = shutil.disk_usage(there).free
    low = free < LITTLE
    yield Finding(area, "free disk", decimal(free), "warning" if low else "ok", "little room is left" if low else "")


def _stale(root: Path) -> list[int]:
    """Sizes of the temporary files that nobody will finish."""
    oldest = time.time() - STALE_SECONDS
    sizes = []
    for path in root.rglob(".tmp-*"):
        try:
            status = path.lstat()
        except FileNotFoundError:  # finished meanwhile
            continue
        if status.st_mtime < oldest:
            sizes.append(status.st_size)
    return sizes
