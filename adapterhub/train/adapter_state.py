"""An adapter under training as named tensors: all that learns, and what its method keeps beside it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from adapterhub.errors import ConfigError, ConflictError
from adapterhub.train.disk import written
from adapterhub.train.job import TrainJob
from adapterhub.train.parts import like, whole

LEARNS = "learns:"
METHOD = "method:"


def adapter_state(job: TrainJob, model: Any) -> dict[str, Tensor]:
    """Every parameter that learns, in fp32 and under its own name, and the method's own state; on the CPU.

    Not what PEFT saves: an export may be computed from what learns, and leave it out. Raises ConfigError when a
    tensor that learns is not finite any more.
    """
    found = {f"{LEARNS}{name}": whole(parameter) for name, parameter in _learning(model).items()}
    for name, parameter in found.items():
        if not bool(parameter.isfinite().all()):
            raise ConfigError(
                f"learning_rate: {name.removeprefix(LEARNS)} is not finite any more with {job.config.learning_rate}; "
                "try a lower one, or a longer warmup",
                field="learning_rate",
            )
    own = job.method.training_state(job.options, model) if job.adapter else {}
    return {name: _plain(parameter.detach().float()) for name, parameter in found.items()} | {
        f"{METHOD}{name}": _plain(tensor.detach()) for name, tensor in own.items()
    }


def restore_adapter_state(job: TrainJob, model: Any, state: dict[str, Tensor]) -> None:
    """Put back what `adapter_state` gave. Raises ConflictError when other tensors learn here."""
    learning = _learning(model)
    kept = {name.removeprefix(LEARNS): tensor for name, tensor in state.items() if name.startswith(LEARNS)}
    shapes = {name: tuple(parameter.shape) for name, parameter in learning.items()}
    if shapes != {name: tuple(tensor.shape) for name, tensor in kept.items()}:
        other = min(name for name in kept.keys() | learning.keys() if shapes.get(name) != _shape(kept.get(name)))
        raise ConflictError(f"the checkpoint is of another adapter: it differs in {other}")
    with torch.no_grad():
        for name, parameter in learning.items():
            parameter.copy_(like(parameter, kept[name]))
    own = {name.removeprefix(METHOD): tensor for name, tensor in state.items() if name.startswith(METHOD)}
    if job.adapter:
        job.method.restore_training_state(job.options, model, own)


def _learning(model: Any) -> dict[str, Tensor]:
    return {name: parameter for name, parameter in model.named_parameters() if parameter.requires_grad}


def save_state(path: Path, state: dict[str, Tensor], what: str) -> None:
    """Write it in one step. Raises UnavailableError when the disk does not take it."""
    partial = path.with_name(f".{path.name}.partial")
    try:
        with written(path.parent, what):
            path.parent.mkdir(parents=True, exist_ok=True)
            save_file(state, partial)
            partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)


def load_state(path: Path) -> dict[str, Tensor]:
    """What `save_state` wrote; on the CPU."""
    return load_file(path)


def _plain(tensor: Tensor) -> Tensor:
    """On the CPU, in memory of its own."""
    return tensor.cpu().contiguous().clone()


def _shape(tensor: Tensor | None) -> tuple[int, ...] | None:
    return None if tensor is None else tuple(tensor.shape)
