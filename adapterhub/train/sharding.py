"""A model whose weights lie in parts on the processes of a run (FSDP), as accelerate makes it.

What is not covered, and refused by name: the first version of FSDP, quantized bases, methods with a part of their own
in the steps, and a base that is to be given back.
"""

from __future__ import annotations

from typing import Any

from torch import nn
from torch.distributed.fsdp import FSDPModule
from torch.distributed.tensor import DTensor

from adapterhub.errors import ConfigError
from adapterhub.method_training import MethodTraining
from adapterhub.train.job import TrainJob


def check_sharding(job: TrainJob, accelerator: Any) -> None:
    """Raises ConfigError where FSDP was asked for and cannot do it."""
    if not job.processes.sharding:
        return
    plugin = getattr(accelerator.state, "fsdp_plugin", None)
    problem = ""
    if plugin is None:
        problem = f"accelerate does not shard on {job.base.device.type}; without FSDP the processes share the steps"
    elif plugin.fsdp_version != 2:
        problem = f"version {plugin.fsdp_version} would not leave the adapter's tensors apart; need fsdp_version: 2"
    elif job.base.quantization != "none":
        problem = f"a base held as {job.base.quantization} is not to be sharded; need quantization none"
    elif job.borrowed:
        problem = "a base that is the caller's would not be given back"
    elif job.adapter is not None and _has_part_in_steps(job):
        problem = f"method {job.method.name} looks at whole tensors between the steps; need another method, or no FSDP"
    if problem:
        raise ConfigError(f"FSDP: {problem}")


def gather(model: Any) -> None:
    """Make each parameter that learned whole again on every process, once no step and no forward follows."""
    for module in model.modules():
        if isinstance(module, FSDPModule):
            module.reshard()  # what the last forward left whole would be taken apart again later
    whole: dict[int, nn.Parameter] = {}  # a tied one stays one
    for module in model.modules():
        for name, held in list(module.named_parameters(recurse=False)):
            if isinstance(held, DTensor) and held.requires_grad:
                if id(held) not in whole:
                    whole[id(held)] = nn.Parameter(held.full_tensor())
                setattr(module, name, whole[id(held)])


def _has_part_in_steps(job: TrainJob) -> bool:
    method = type(job.method)
    return method.extra_loss is not MethodTraining.extra_loss or method.stepped is not MethodTraining.stepped
