"""An adapter that was never trained: random nonzero values in every tensor."""

from __future__ import annotations

import json
from importlib.metadata import version
from typing import TYPE_CHECKING, Any

import torch
from safetensors.torch import save_file

from adapterhub.adapter import CONFIG_FILE, TENSORS_FILE
from adapterhub.method import BaseShape, Method, MethodConfig

if TYPE_CHECKING:
    from pathlib import Path


def save_random_adapter(
    folder: Path, method: Method[Any], config: MethodConfig, shape: BaseShape, *, seed: int = 0, scale: float = 0.1
) -> Path:
    """Write an adapter in PEFT's layout, its values normal with standard deviation `scale`."""
    generator = torch.Generator().manual_seed(seed)
    tensors = {
        key: torch.randn(size, generator=generator) * scale for key, size in method.plan(config, shape).shapes().items()
    }
    folder.mkdir(parents=True, exist_ok=True)
    save_file(tensors, folder / TENSORS_FILE, metadata={"format": "pt"})
    values = {"peft_type": method.peft_type, "peft_version": version("peft"), "task_type": "CAUSAL_LM"}
    (folder / CONFIG_FILE).write_text(json.dumps(values | config.to_peft()))
    return folder
