"""An adapter on a base for as long as it trains, and the base given back as it was."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from peft import PeftModel
from torch import nn

from adapterhub.peft import SiteTuner, peft_config
from adapterhub.peft.quiet_peft import quiet_peft
from adapterhub.train.job import TrainJob
from adapterhub.train.run_base import RunBase


@contextmanager
def attached(job: TrainJob) -> Iterator[PeftModel]:
    """A fresh adapter as `job` asks for it on the job's base, which is given back to the bit.

    Nothing of the base is cast, as k-bit preparation would: its norms and embeddings keep their
    dtype, and the adapter's tensors are in fp32. Kept aside meanwhile are the weights of the modules
    that the adapter's start rewrites, and the base's own biases where they learn.
    """
    model: Any = job.base.model
    config: Any = peft_config(job.method, job.options)
    if getattr(config, "tokenizer_name_or_path", None):  # PEFT reads it where virtual tokens start as a text
        config.tokenizer_name_or_path = job.base.tokenizer.name_or_path
    use_cache = model.config.use_cache
    modules = [_Module(module) for module in model.modules()]
    own = list(model.parameters())
    rewritten = job.targets() if job.method.saves_difference(job.options) else []
    kept = {
        weight: weight.data.clone()
        for name in rewritten
        for weight in model.get_submodule(name).parameters()
        if weight.is_floating_point()  # none that is held in a few bits is rewritten
    }
    adapted: Any = None
    try:
        with quiet_peft():
            adapted = job.method.attach(job.options, config, RunBase(job))
        kept |= {parameter: parameter.data.clone() for parameter in own if parameter.requires_grad}
        yield adapted
    finally:
        if adapted is not None and isinstance(adapted.base_model, SiteTuner):
            adapted.base_model.unload()  # takes its hooks off too
        for module in modules:  # not by PEFT's `unload`, which some of its methods refuse on a quantized base
            module.put_back()
        for weight, value in kept.items():
            weight.data = value
            weight.grad = None
        model.config.use_cache = use_cache
        model.eval().requires_grad_(False)


class _Module:
    """What a module of the base has of its own: its children, its attributes, its hooks."""

    def __init__(self, module: nn.Module) -> None:
        self._module = module
        self._children = list(module.named_children())
        self._attributes = set(vars(module))
        self._hooks = set(module._forward_hooks)

    def put_back(self) -> None:
        """Make its children those that they were, and take off what was added."""
        for name, child in self._children:
            if getattr(self._module, name) is not child:
                setattr(self._module, name, child)
        for name in set(vars(self._module)) - self._attributes:
            delattr(self._module, name)
        for hook in set(self._module._forward_hooks) - self._hooks:
            del self._module._forward_hooks[hook]
