"""Names and tags: one-line files `refs/<namespace or _>/<name>/<tag>` that hold a digest, and their logs.

Readers need no lock: a ref is replaced in one step. Whoever moves one holds the lock, which ends with
the process that took it.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

from filelock import FileLock, Timeout

from adapterhub.errors import ConflictError, CorruptAdapterError, RefError, UnavailableError
from adapterhub.store.durable import remove_durably, write_durably, writing
from adapterhub.store.history import reached, settled
from adapterhub.store.plain import names_in, plain_folders, plain_size
from adapterhub.store.ref import AdapterRef
from adapterhub.store.ref_log import read_log, write_log
from adapterhub.store.ref_move import RefMove, now

LOCK_SECONDS = 60.0
REFS = "refs"
LOGS = "log"
NO_NAMESPACE = "_"  # not accepted as a namespace, so it is free


class Refs:
    """The refs of the store at `root`, and their logs."""

    def __init__(self, root: Path) -> None:
        self._root = root
        self._folder = root / REFS

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Alone among all processes.

        Raises UnavailableError when another one keeps the lock, or the store cannot be written to.
        """
        plain_folders(self._root, REFS)
        path = self._folder / ".lock"
        lock = FileLock(path, timeout=LOCK_SECONDS)
        try:
            with writing(path, 0):
                self._folder.mkdir(parents=True, exist_ok=True)
                lock.acquire()
        except Timeout:
            raise UnavailableError(f"{path}: held by another process for {LOCK_SECONDS:.0f} s") from None
        try:
            yield
        finally:
            lock.release()

    def read(self, ref: AdapterRef) -> str:
        """The digest a tag holds, or an empty string. Raises CorruptAdapterError when the file is damaged."""
        path = self._path(ref)
        try:
            if plain_size(path) is None:
                return ""
            digest = path.read_text(encoding="ascii", errors="replace").strip()
        except FileNotFoundError:
            return ""
        with suppress(RefError):
            if digest:
                return replace(ref, digest=digest).digest
        raise CorruptAdapterError(f"{path}: holds no digest")

    def move(self, ref: AdapterRef, *, expected: str | None, action: str, source: str = "", commit: str = "") -> str:
        """Under the lock: point the tag at `ref.digest`, or remove it when that is empty.

        Returns what it held. The log's line first, then the ref. Raises ConflictError when `expected` is given
        and the tag holds another digest, or when what is to be removed is not there.
        """
        held = self._replaced(ref) if expected is None else self.read(ref)
        if expected is not None and held != expected:
            raise ConflictError(
                f"{ref.label} holds {held or 'nothing'}, expected {expected or 'nothing'}: it moved meanwhile"
            )
        path = self._path(ref)
        if not ref.digest and not os.path.lexists(path):
            raise ConflictError(f"{ref.label}: removed meanwhile")
        self._log(ref, held, RefMove(
            at=now(), digest=ref.digest, previous=held, action=action, source=source, commit=commit
        ))  # fmt: skip
        if ref.digest:
            write_durably(path, f"{ref.digest}\n".encode())
        else:
            remove_durably(path)
            with suppress(OSError):  # other tags, other names
                path.parent.rmdir()
                path.parent.parent.rmdir()
        return held

    def note(self, ref: AdapterRef, *, action: str, source: str, commit: str) -> None:
        """Under the lock: log something done with `ref.digest`, while the tag stays where it is."""
        done = RefMove(at=now(), digest=ref.digest, previous=ref.digest, action=action, source=source, commit=commit)
        self._log(ref, self._replaced(ref), done)

    def history(self, ref: AdapterRef) -> tuple[RefMove, ...]:
        """The moves of a tag, oldest first; the last one leads to what it holds. None when there never was one."""
        while True:
            held = self.read(ref)
            moves = settled(read_log(self._log_path(ref)), held, since=self._since(ref))
            if self.read(ref) == held:  # else it moved between the two reads
                return moves

    def check_log(self, ref: AdapterRef) -> None:
        """Raises CorruptAdapterError when the log of a tag is damaged."""
        read_log(self._log_path(ref))

    def logged(self) -> Iterator[AdapterRef]:
        """All tags that have a log, in order, without digests; those that were removed too."""
        return self._all(LOGS)

    def __iter__(self) -> Iterator[AdapterRef]:
        """All names with their tags, in order, without digests."""
        return self._all(REFS)

    def stamp(self) -> frozenset[tuple[str, int, int]]:
        """Another one for another state of the tags. Opens no file."""
        found = set()
        for folder, _, names in os.walk(self._folder):
            for name in names:
                with suppress(FileNotFoundError):  # removed meanwhile, or a temporary file
                    status = Path(folder, name).lstat()
                    found.add((f"{folder}/{name}", status.st_ino, status.st_mtime_ns))
        return frozenset(found)

    def tags(self, name: str) -> list[str]:
        """The tags of a name, in order; none when the name is not known."""
        namespace, _, own = AdapterRef(name).name.rpartition("/")
        return [ref.tag for ref in self._tags(REFS, namespace or NO_NAMESPACE, own)]

    def ever_held(self, ref: AdapterRef) -> bool:
        """Whether some tag of the name, maybe one that was removed, ever held `ref.digest`."""
        namespace, _, own = ref.name.rpartition("/")
        places = [(kind, namespace or NO_NAMESPACE, own) for kind in (REFS, LOGS)]
        tags = {tag for place in places for tag in self._tags(*place)}
        return any(move.digest == ref.digest for tag in tags for move in self.history(tag))

    def _log(self, ref: AdapterRef, held: str, move: RefMove) -> None:
        path = self._log_path(ref)
        moves = settled(read_log(path), held, since=self._since(ref))
        if not moves or not move.repeats(moves[-1]):
            write_log(path, (*moves, move))

    def _replaced(self, ref: AdapterRef) -> str:
        """What a tag holds that is to be replaced anyway; what its log says, when its file is damaged."""
        try:
            return self.read(ref)
        except CorruptAdapterError:
            return reached(read_log(self._log_path(ref)))

    def _since(self, ref: AdapterRef) -> str:
        """When a ref's file was written; now, when there is none."""
        try:
            written = self._path(ref).stat().st_mtime
        except FileNotFoundError:
            return now()
        return datetime.fromtimestamp(written, UTC).isoformat(timespec="milliseconds")

    def _all(self, kind: str) -> Iterator[AdapterRef]:
        for namespace in _folders_in(self._root / kind):
            for name in _folders_in(self._root / kind / namespace):
                yield from self._tags(kind, namespace, name)

    def _tags(self, kind: str, namespace: str, name: str) -> Iterator[AdapterRef]:
        """The tags of one name; not a temporary file, or something that is not ours."""
        plain_folders(self._root, kind, namespace, name)
        for tag in names_in(self._root / kind / namespace / name):
            with suppress(RefError):
                yield AdapterRef(name if namespace == NO_NAMESPACE else f"{namespace}/{name}", tag)

    def _path(self, ref: AdapterRef) -> Path:
        return self._plain(REFS, ref)

    def _log_path(self, ref: AdapterRef) -> Path:
        return self._plain(LOGS, ref)

    def _plain(self, kind: str, ref: AdapterRef) -> Path:
        """The only place where a checked reference becomes a path. Raises CorruptAdapterError for a link in it."""
        namespace, _, name = ref.name.rpartition("/")
        folders = (kind, namespace or NO_NAMESPACE, name)
        plain_folders(self._root, *folders)
        return self._root.joinpath(*folders, ref.tag)


def _folders_in(folder: Path) -> list[str]:
    return [name for name in names_in(folder) if not name.startswith(".")]
