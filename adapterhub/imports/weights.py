"""Weights that are there in a form that is never read."""

from __future__ import annotations

import re
from pathlib import Path

from adapterhub.adapter import PICKLED_FILES
from adapterhub.errors import CorruptAdapterError
from adapterhub.imports.plain import listing

_SHARD = re.compile(r".+-\d+-of-\d+\.safetensors|.+\.safetensors\.index\.json")


def refuse_other_weights(folder: Path, needed: str) -> None:
    """Raises CorruptAdapterError when the folder holds pickled or sharded weights in place of the file `needed`."""
    names = [entry.name for entry in listing(folder)]
    if pickled := [name for name in names if name in PICKLED_FILES]:
        raise CorruptAdapterError(f"{folder / pickled[0]}: pickled weights are never loaded; need {needed}")
    if shards := [name for name in names if _SHARD.fullmatch(name)]:
        raise CorruptAdapterError(f"{folder / shards[0]}: sharded weights are not read; need all in one {needed}")
