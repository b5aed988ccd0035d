"""Names and tags: one-line files `refs/<namespace or _>/<name>/<tag>` that hold a digest."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from filelock import FileLock, Timeout

from adapterhub.errors import ConflictError, CorruptAdapterError, RefError, UnavailableError
from adapterhub.store.durable import write_durably
from adapterhub.store.ref import AdapterRef

LOCK_SECONDS = 60.0
NO_NAMESPACE = "_"  # not accepted as a namespace, so it is free


class Refs:
    """The refs in one folder. Readers need no lock: a ref is replaced in one step."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def read(self, ref: AdapterRef) -> str:
        """The digest a tag holds, or an empty string. Raises CorruptAdapterError when the file is damaged."""
        path = self._path(ref)
        try:
            digest = path.read_text(encoding="ascii", errors="replace").strip()
        except FileNotFoundError:
            return ""
        try:
            return replace(ref, digest=digest).digest
        except RefError:
            raise CorruptAdapterError(f"{path}: holds no digest") from None

    def move(self, ref: AdapterRef, *, expected: str | None) -> None:
        """Point the tag at `ref.digest`.

        Raises ConflictError when `expected` is given and the tag holds another digest, and
        UnavailableError when another process keeps the lock.
        """
        path = self._path(ref)
        self._folder.mkdir(parents=True, exist_ok=True)
        lock = self._folder / ".lock"
        try:
            with FileLock(lock, timeout=LOCK_SECONDS):
                if expected is not None and (now := self.read(ref)) != expected:
                    raise ConflictError(
                        f"{ref.label} holds {now or 'nothing'}, expected {expected or 'nothing'}: it moved meanwhile"
                    )
                write_durably(path, f"{ref.digest}\n".encode())
        except Timeout:
            raise UnavailableError(f"{lock}: held by another process for {LOCK_SECONDS:.0f} s") from None

    def __iter__(self) -> Iterator[AdapterRef]:
        """All names with their tags, in order, without digests."""
        for path in sorted(self._folder.glob("*/*/*")):
            if ref := self._at(path):
                yield ref

    def tags(self, name: str) -> list[str]:
        """The tags of a name, in order; none when the name is not known."""
        folder = self._path(AdapterRef(name)).parent
        return sorted(ref.tag for path in folder.glob("*") if (ref := self._at(path)))

    def _at(self, path: Path) -> AdapterRef | None:
        """The ref whose file `path` is; None for a temporary file, or something that is not ours."""
        namespace, name, tag = path.relative_to(self._folder).parts
        try:
            return AdapterRef(name if namespace == NO_NAMESPACE else f"{namespace}/{name}", tag)
        except RefError:
            return None

    def _path(self, ref: AdapterRef) -> Path:
        namespace, _, name = ref.name.rpartition("/")
        return self._folder / (namespace or NO_NAMESPACE) / name / ref.tag
