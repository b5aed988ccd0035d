"""The base digest: the content of the unquantized weights, whatever files they are spread over.

    line(t) = name(t) dtype(t) shape(t) sha256(bytes(t))
    digest  = "sha256:" + sha256(all lines, sorted by name)

It decides whether an adapter fits a base. Hashing reads every weight (about a second per GB), so
the result is kept in the cache under the identity of the files.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from safetensors import SafetensorError, safe_open

from adapterhub.base.cache import cache_folder
from adapterhub.base.weights import weight_files
from adapterhub.errors import BaseNotFoundError

if TYPE_CHECKING:
    from collections.abc import Iterator


def base_digest(folder: Path) -> str:
    """`sha256:` and 64 hex digits for the weights in `folder`.

    Raises BaseNotFoundError when the folder holds no readable safetensors weights.
    """
    files = weight_files(folder)
    cached = _cached(files)
    digest = _read_cached(cached)
    if digest is None:
        digest = _digest_of(files)
        # A cache that cannot be written (read-only home) costs time, not correctness.
        with contextlib.suppress(OSError):
            _write_cached(cached, digest)
    return digest


def known_digest(folder: Path) -> str:
    """The base's digest when it was computed before; empty when its weights, if it has any, would have to be read."""
    try:
        return _read_cached(_cached(weight_files(folder))) or ""
    except BaseNotFoundError:
        return ""


def _cached(files: list[Path]) -> Path:
    return cache_folder() / "digests" / f"{_identity(files)}.json"


def _digest_of(files: list[Path]) -> str:
    lines: dict[str, str] = {}
    for path in files:
        try:
            for name, line in _lines(path):
                if name in lines:
                    raise BaseNotFoundError(f"{path}: tensor {name!r} is in two files", resource=str(path))
                lines[name] = line
        except SafetensorError as error:
            raise BaseNotFoundError(f"{path}: not a safetensors file: {error}", resource=str(path)) from None
    text = "\n".join(lines[name] for name in sorted(lines))
    return f"sha256:{hashlib.sha256(text.encode()).hexdigest()}"


def _lines(path: Path) -> Iterator[tuple[str, str]]:
    with safe_open(path, framework="pt") as file:
        for name in file.keys():  # noqa: SIM118  (safe_open is no mapping)
            header = file.get_slice(name)
            # A view of the mapped file: nothing is copied, and pages go as they came.
            raw = file.get_tensor(name).reshape(-1).view(torch.uint8).numpy()
            yield name, json.dumps([name, header.get_dtype(), header.get_shape(), hashlib.sha256(raw).hexdigest()])


def _identity(files: list[Path]) -> str:
    """What changes when a file is replaced or written to; ctime catches a write that restores mtime."""
    stats = [(str(path.resolve()), path.stat()) for path in files]
    facts = [[path, s.st_size, s.st_mtime_ns, s.st_ctime_ns, s.st_ino] for path, s in stats]
    return hashlib.sha256(json.dumps(facts).encode()).hexdigest()


def _read_cached(path: Path) -> str | None:
    try:
        digest = json.loads(path.read_bytes())["digest"]
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return digest if isinstance(digest, str) else None


def _write_cached(path: Path, digest: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.NamedTemporaryFile("w", dir=path.parent, delete=False) as file:
        json.dump({"digest": digest}, file)
    Path(file.name).replace(path)
