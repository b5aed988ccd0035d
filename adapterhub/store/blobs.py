"""Contents by digest: `blobs/sha256/<hex>`. A blob is written once and never changed."""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Iterator
from pathlib import Path

from adapterhub.adapter import MAX_JSON_BYTES
from adapterhub.errors import CorruptAdapterError
from adapterhub.store.durable import remove_durably, sync_folder, write_durably, writing
from adapterhub.store.manifest import Blob, Manifest
from adapterhub.store.plain import names_in, plain_folders, plain_size

_HEX = re.compile("[0-9a-f]{64}")


class Blobs:
    """The blobs of the store at `root`."""

    def __init__(self, root: Path) -> None:
        self._root = root
        self._folder = root / "blobs" / "sha256"
        self._prefix = str(self._folder)

    def path(self, digest: str) -> Path:
        """Where the blob of `digest` is, or would be."""
        return self._folder / digest.removeprefix("sha256:")

    def put(self, content: bytes) -> None:
        """Keep `content`.

        A blob that is there and right is not written again, but is as young as a new one, so that no sweep
        takes it for forgotten; a damaged one is mended. Raises UnavailableError when the disk does not take it.
        """
        plain_folders(self._root, "blobs", "sha256")
        blob = Blob.of(content)
        path = self.path(blob.digest)
        try:
            os.utime(path, follow_symlinks=False)
            self.verify(blob.digest)
        except (OSError, CorruptAdapterError):
            write_durably(path, content)
            return
        with writing(path, 0):
            sync_folder(self._folder)  # another process may have written it just now

    def has(self, digest: str) -> bool:
        """Whether there is a blob of `digest`. Raises CorruptAdapterError for a link in its place."""
        plain_folders(self._root, "blobs", "sha256")
        return plain_size(self.path(digest)) is not None

    def locate(self, blob: Blob) -> Path:
        """The blob's file, which has its size. Raises CorruptAdapterError when it does not, or is missing."""
        self.check_size(blob.digest, blob.size)
        return self.path(blob.digest)

    def check_size(self, digest: str, size: int) -> None:
        """As `locate`, for thousands."""
        path = f"{self._prefix}/{digest.removeprefix('sha256:')}"
        if (found := plain_size(path)) is None:
            raise CorruptAdapterError(f"{path}: missing")
        if found != size:
            raise CorruptAdapterError(f"{path}: {found} bytes, its manifest says {size}")

    def verify(self, digest: str) -> Path:
        """The blob's file, read and hashed. Raises CorruptAdapterError when it is missing or altered."""
        path = self.path(digest)
        try:
            if not self.has(digest):
                raise FileNotFoundError
            with path.open("rb") as file:
                found = f"sha256:{hashlib.file_digest(file, 'sha256').hexdigest()}"
        except FileNotFoundError:
            raise CorruptAdapterError(f"{path}: missing") from None
        if found != digest:
            raise CorruptAdapterError(f"{path}: altered, its content has digest {found}")
        return path

    def manifest(self, digest: str) -> Manifest:
        """The manifest of that digest, hashed. Raises CorruptAdapterError, UnsupportedAdapterError for a newer one."""
        path = self.verify(digest)
        if path.stat().st_size > MAX_JSON_BYTES:
            raise CorruptAdapterError(f"{path}: not the manifest of an adapter")
        return Manifest.from_bytes(path.read_bytes(), where=str(path))

    def remove(self, digest: str) -> None:
        """Remove a blob that nobody points at."""
        remove_durably(self.path(digest))

    def __iter__(self) -> Iterator[str]:
        """The digests of all blobs, in order."""
        return (f"sha256:{name}" for name in names_in(self._folder) if _HEX.fullmatch(name))
