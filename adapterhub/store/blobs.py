"""Contents by digest: `blobs/sha256/<hex>`. A blob is written once and never changed."""

from __future__ import annotations

import hashlib
from pathlib import Path

from adapterhub.errors import CorruptAdapterError
from adapterhub.store.durable import write_durably
from adapterhub.store.manifest import Blob


class Blobs:
    """The blobs in one folder."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def path(self, digest: str) -> Path:
        """Where the blob of `digest` is, or would be."""
        return self._folder / digest.removeprefix("sha256:")

    def put(self, content: bytes) -> Blob:
        """Keep `content`. Writes even when the blob is there, so that publishing again mends a damaged one."""
        blob = Blob(digest=f"sha256:{hashlib.sha256(content).hexdigest()}", size=len(content))
        write_durably(self.path(blob.digest), content)
        return blob

    def locate(self, blob: Blob) -> Path:
        """The blob's file, which has its size. Raises CorruptAdapterError when it does not, or is missing."""
        path = self.path(blob.digest)
        if not path.is_file():
            raise CorruptAdapterError(f"{path}: missing")
        if (size := path.stat().st_size) != blob.size:
            raise CorruptAdapterError(f"{path}: {size} bytes, its manifest says {blob.size}")
        return path

    def verify(self, digest: str) -> Path:
        """The blob's file, read and hashed. Raises CorruptAdapterError when it is missing or altered."""
        path = self.path(digest)
        try:
            with path.open("rb") as file:
                found = f"sha256:{hashlib.file_digest(file, 'sha256').hexdigest()}"
        except FileNotFoundError:
            raise CorruptAdapterError(f"{path}: missing") from None
        if found != digest:
            raise CorruptAdapterError(f"{path}: altered, its content has digest {found}")
        return path
