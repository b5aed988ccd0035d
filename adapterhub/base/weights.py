"""The weight files of a base folder: which ones a load reads. Safetensors only, never pickle."""

from __future__ import annotations

import json
from pathlib import Path

from adapterhub.errors import BaseNotFoundError

SINGLE_FILE = "model.safetensors"
INDEX_FILE = "model.safetensors.index.json"
PICKLE_SUFFIXES = (".bin", ".pt", ".pth", ".pkl", ".ckpt")


def weight_files(folder: Path) -> list[Path]:
    """The safetensors files of a base, sorted: the single one, or all shards its index names.

    The order of preference is that of transformers, so these are the files a load reads.
    Raises BaseNotFoundError when there are none, when a shard is missing, or when there is only pickle.
    """
    if (folder / SINGLE_FILE).is_file():
        return [folder / SINGLE_FILE]
    index = folder / INDEX_FILE
    if index.is_file():
        return [_shard(folder, name) for name in _shard_names(index)]
    pickled = sorted(path.name for path in folder.iterdir() if path.suffix in PICKLE_SUFFIXES)
    found = f"pickled weights ({pickled[0]}) are never loaded" if pickled else "no weights"
    raise BaseNotFoundError(f"{folder}: {found}; need {SINGLE_FILE} or {INDEX_FILE}", resource=str(folder))


def _shard_names(index: Path) -> list[str]:
    try:
        return sorted({str(name) for name in json.loads(index.read_bytes())["weight_map"].values()})
    except (ValueError, KeyError, TypeError, AttributeError):
        raise BaseNotFoundError(f"{index}: not an index of weights", resource=str(index)) from None


def _shard(folder: Path, name: str) -> Path:
    path = folder / name
    if Path(name).name != name or path.suffix != ".safetensors" or not path.is_file():
        raise BaseNotFoundError(f"{folder}: {INDEX_FILE} names {name!r}, which is no file here", resource=str(path))
    return path
