"""Random LoRA adapters on disk, written once, which all contenders read."""

from __future__ import annotations

import hashlib
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file

from adapterhub.adapter import TENSORS_FILE
from adapterhub.base_shape import BaseShape
from adapterhub.new_folder import new_folder
from adapterhub.plugins import installed_methods
from adapterhub.testing import save_random_adapter
from benchmarks.work import AdapterDtype

SCALE = 0.05
"""Standard deviation of A and B: enough that each adapter answers otherwise than the base and the others do."""


def lora_folders(cache: Path, model: Path, shape: BaseShape, count: int, rank: int, dtype: AdapterDtype) -> list[Path]:
    """`count` folders in PEFT's layout: rank `rank` on all projections of all layers of the model in `model`."""
    base = hashlib.sha256((model / "config.json").read_bytes()).hexdigest()[:12]
    folders = [cache / "adapters" / base / f"lora-r{rank}-{SCALE}-{dtype}" / str(index) for index in range(count)]
    method = installed_methods().get("lora")
    config = method.Config.load({"r": rank}, where="benchmark")
    for index, folder in enumerate(folders):
        if folder.is_dir():
            continue
        with new_folder(folder) as partial:
            save_random_adapter(partial, method, config, shape, seed=index, scale=SCALE)
            tensors = load_file(partial / TENSORS_FILE)
            cast = {key: tensor.to(getattr(torch, dtype)) for key, tensor in tensors.items()}
            save_file(cast, partial / TENSORS_FILE, metadata={"format": "pt"})
    return folders
