"""What names a content: in a store, and on the Hub."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path

from adapterhub.store.manifest import Blob, Manifest

CHUNK = 1 << 20


def digest_of(files: Mapping[str, Path]) -> str:
    """The digest that an adapter of these files, by name, has in every store."""
    blobs = {
        name: Blob(digest=f"sha256:{oid_of(path, length=64)}", size=path.stat().st_size) for name, path in files.items()
    }
    return f"sha256:{hashlib.sha256(Manifest(files=blobs).to_bytes()).hexdigest()}"


def oid_of(path: Path, *, length: int) -> str:
    """A file's name on the Hub, in hex: of 64 digits for a large file, its sha256; of 40, git's sha1 of a blob."""
    if length == 64:
        digest = hashlib.sha256()
    else:
        digest = hashlib.sha1(f"blob {path.stat().st_size}\0".encode(), usedforsecurity=False)
    with path.open("rb") as file:
        while chunk := file.read(CHUNK):
            digest.update(chunk)
    return digest.hexdigest()
