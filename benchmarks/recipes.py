"""Random adapters of any methods, by made-up digests."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from adapterhub.adapter import Adapter, read_folder
from adapterhub.base import BaseModel
from adapterhub.engine import Engine
from adapterhub.plugins import installed_methods
from adapterhub.testing import save_random_adapter

Recipe = tuple[str, dict[str, Any]]
"""Method and options."""


def written(base: BaseModel, folder: Path, recipes: Sequence[Recipe]) -> list[Adapter]:
    """One adapter for each recipe, in a folder of its own."""
    adapters = []
    for index, (name, options) in enumerate(recipes):
        method = installed_methods().get(name)
        config = method.Config.load(options, where="benchmark")
        made = save_random_adapter(folder / str(index), method, config, base.shape, seed=index, scale=0.02)
        adapters.append(replace(read_folder(made), digest=f"sha256:{folder.name}-{index}"))
    return adapters


def resident(engine: Engine, folder: Path, recipes: Sequence[Recipe]) -> list[str]:
    """The same, loaded; their digests."""
    adapters = written(engine.base, folder, recipes)
    for adapter in adapters:
        engine.load_adapter(adapter)
    return [adapter.digest for adapter in adapters]
