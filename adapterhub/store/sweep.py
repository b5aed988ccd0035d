"""Removing what nobody points at: mark from the tags and their logs, then sweep.

The sweep holds the lock. A publisher puts its blobs without the lock, and looks again whether they are
there once it holds it, just before its tag moves. So the sweep never takes what a tag points at, whatever
the clocks say. The grace only spares publishers the work of putting a blob twice, and readers who hold a
digest that no tag holds any more.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from adapterhub.errors import CorruptAdapterError, IntegrityError
from adapterhub.store.blobs import Blobs
from adapterhub.store.durable import TEMPORARY, remove_durably
from adapterhub.store.ref_move import RefMove
from adapterhub.store.refs import Refs

GRACE = 3600.0
"""Seconds that a file stays after it was written or used again by a publisher."""
KEEP_HISTORY = 30 * 86400.0
"""Seconds that a digest stays after a tag moved away from it, for rollback."""


@dataclass(frozen=True)
class Swept:
    """What a sweep removed, or would remove."""

    blobs: int = 0
    nbytes: int = 0
    """Bytes of the blobs and of the unfinished files."""
    temporary: int = 0
    """Unfinished files that a crash had left."""
    kept: int = 0
    """Blobs that stay."""


def mark(refs: Refs, blobs: Blobs, *, keep_history: float) -> set[str]:
    """The digests of all blobs that are in use: what tags hold, and held less than `keep_history` seconds ago.

    Raises IntegrityError when something a tag holds cannot be read: its files would be taken for unused.
    """
    marked: set[str] = set()
    for ref in refs:
        try:
            _mark_files(blobs, refs.read(ref), marked)
        except IntegrityError as error:
            raise CorruptAdapterError(f"{ref.label}: {error}; publish it again, or remove the tag, first") from None
    for ref in refs.logged():
        for digest in _held_since(refs.history(ref), datetime.now(UTC).timestamp() - keep_history):
            if digest not in marked and blobs.has(digest):
                _mark_files(blobs, digest, marked)
    return marked


def sweep(blobs: Blobs, marked: set[str], candidates: Iterable[str], *, grace: float, dry_run: bool) -> Swept:
    """Under the lock: remove those of the `candidates` that are not marked and older than `grace` seconds."""
    before, count, nbytes, kept = time.time() - grace, 0, 0, 0
    for digest in candidates:
        try:
            status = blobs.path(digest).lstat()
        except FileNotFoundError:
            continue
        if digest in marked or status.st_mtime > before:
            kept += 1
            continue
        if not dry_run:
            blobs.remove(digest)
        count, nbytes = count + 1, nbytes + status.st_size
    return Swept(blobs=count, nbytes=nbytes, kept=kept)


def sweep_temporary(root: Path, *, grace: float, dry_run: bool) -> Swept:
    """Remove the unfinished files that are older than `grace` seconds and than GRACE: one may be in the making."""
    before, count, nbytes = time.time() - max(grace, GRACE), 0, 0
    for path in _temporary(root):
        try:
            status = path.lstat()
        except FileNotFoundError:
            continue  # finished meanwhile
        if status.st_mtime <= before:
            if not dry_run:
                remove_durably(path)
            count, nbytes = count + 1, nbytes + status.st_size
    return Swept(temporary=count, nbytes=nbytes)


def _mark_files(blobs: Blobs, digest: str, marked: set[str]) -> None:
    if digest and digest not in marked:
        marked |= {digest, *(blob.digest for blob in blobs.manifest(digest).files.values())}


def _held_since(moves: Iterable[RefMove], since: float) -> Iterator[str]:
    """What a tag held at some moment after `since`, in seconds of the epoch; what has no readable time too."""
    for move in moves:
        if _time(move.at, unknown=since) >= since:
            yield from (digest for digest in (move.digest, move.previous) if digest)


def _time(at: str, *, unknown: float) -> float:
    try:
        return datetime.fromisoformat(at).timestamp()
    except ValueError:
        return unknown


def _temporary(root: Path) -> Iterator[Path]:
    for folder, _, names in os.walk(root):  # follows no link
        yield from (Path(folder, name) for name in names if name.startswith(TEMPORARY))
