"""Which folder an adapter lies in, where one may hold several.

PEFT saves adapter "default" in the folder itself and any other in a subfolder of its name; the
`adapters` library saves all of a model's in subfolders. A trainer's `checkpoint-<step>` beside an
adapter is what came before it.
"""

from __future__ import annotations

import os
import re
from pathlib import Path

from adapterhub.adapter import CONFIG_FILE, MAX_LISTED
from adapterhub.errors import AdapterNotFoundError, CorruptAdapterError, InvalidInputError
from adapterhub.imports.plain import listing, reading

ROOT = "default"
"""The name of an adapter in the folder itself."""

_CHECKPOINT = re.compile(r"checkpoint-\d+")


def choose(folder: Path, *, subfolder: str | None = None, adapter: str | None = None) -> Path:
    """Where the adapter of that name, or the one in that subfolder, lies; without a name, the only one there is.

    Raises AdapterNotFoundError for what is not there, InvalidInputError naming all when there are
    several and none is named, and CorruptAdapterError for a subfolder that links elsewhere.
    """
    with reading(folder):
        return _choose(folder, subfolder, adapter)


def _choose(folder: Path, subfolder: str | None, adapter: str | None) -> Path:
    if not folder.exists():
        raise AdapterNotFoundError(f"{folder}: no such folder", resource=str(folder))
    if not folder.is_dir():
        raise InvalidInputError(f"{folder}: not a folder", field="folder")
    if subfolder is not None:
        return _inside(folder, subfolder)
    found = _found(folder)
    if not found:
        raise AdapterNotFoundError(
            f"{folder}: no adapter (neither it nor a subfolder has {CONFIG_FILE})", resource=str(folder)
        )
    if adapter is not None:
        if adapter not in found:
            raise AdapterNotFoundError(f"{folder}: no adapter {adapter!r} (known: {_listed(found)})", resource=adapter)
        return found[adapter]
    if len(found) > 1 and not (ROOT in found and all(map(_CHECKPOINT.fullmatch, found.keys() - {ROOT}))):
        raise InvalidInputError(
            f"{folder}: {len(found)} adapters, choose one by --adapter: {_listed(found)}", field="adapter"
        )
    return next(iter(found.values()))


def _found(folder: Path) -> dict[str, Path]:
    """The adapters of a folder by name, its own first."""
    own = {ROOT: folder} if os.path.lexists(folder / CONFIG_FILE) else {}
    below = {entry.name: folder / entry.name for entry in listing(folder) if entry.is_dir(follow_symlinks=False)}
    return own | {name: path for name, path in below.items() if name not in own and os.path.lexists(path / CONFIG_FILE)}


def _listed(found: dict[str, Path]) -> str:
    more = f" and {len(found) - MAX_LISTED} more" if len(found) > MAX_LISTED else ""
    return ", ".join(list(found)[:MAX_LISTED]) + more


def _inside(folder: Path, subfolder: str) -> Path:
    """A folder below, by a path of plain names."""
    below = Path(subfolder)
    if below.is_absolute() or not below.parts or ".." in below.parts:
        raise InvalidInputError(f"subfolder: {subfolder!r} is not a path of plain names", field="subfolder")
    path = folder / below
    if not path.is_dir():
        raise AdapterNotFoundError(f"{path}: no such folder", resource=subfolder)
    if path.resolve() != folder.resolve() / below:
        raise CorruptAdapterError(f"{path}: a link to {path.resolve()}; import from there")
    if not os.path.lexists(path / CONFIG_FILE):
        raise AdapterNotFoundError(f"{path}: no adapter (it has no {CONFIG_FILE})", resource=subfolder)
    return path
