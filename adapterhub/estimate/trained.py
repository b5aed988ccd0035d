"""The tensors that training an adapter would hold, counted on the meta device."""

from __future__ import annotations

import math
from copy import deepcopy
from typing import Any, NamedTuple

from peft import PeftModel, get_peft_model
from peft.tuners.tuners_utils import BaseTunerLayer
from torch import nn

from adapterhub.base import EmptyBase, load_tokenizer
from adapterhub.method import Plan
from adapterhub.peft import peft_config
from adapterhub.peft.quiet_peft import quiet_peft
from adapterhub.plugins import blamed_on
from adapterhub.train.choice import Choice

FP32 = 4


class Trained(NamedTuple):
    """What one run trains."""

    sizes: list[int]
    """Values of each tensor that learns."""
    held_bytes: int
    """Bytes beside the base: the adapter's tensors, and the base's own where they are kept to be put back."""
    model: PeftModel | None = None
    """The adapter on the base; None where there is none, or where it cannot be made without values."""

    def layer(self, name: str) -> nn.Module | None:
        """Module `name` of the base with what is trained there; None where it cannot be told."""
        try:
            return None if self.model is None else self.model.get_base_model().get_submodule(name)
        except AttributeError:  # another site is around it
            return None


def trained(choice: Choice, plan: Plan, base: EmptyBase) -> Trained:
    """What PEFT makes of the base, tensor by tensor: some methods train more than they save.

    A start that is not nothing needs values and cannot be made here. It trains what is in its plan.
    Raises PluginError when the method cannot be made, and BaseNotFoundError without a tokenizer that it needs.
    """
    if choice.method.saves_difference(choice.options):
        sizes = [math.prod(shape) for shape in plan.shapes().values()]
        sites = plan.sites if base.quantization == "none" else ()  # no quantized weight is rewritten
        rewritten = [base.shape.modules[site.module] for site in sites]
        kept = sum(module.in_features * module.out_features for module in rewritten)
        return Trained(sizes, FP32 * sum(sizes) + base.compute_dtype.itemsize * kept)
    model = deepcopy(base.model).requires_grad_(False)
    of_base = {*model.parameters(), *model.buffers()}
    config: Any = peft_config(choice.method, choice.options)
    if getattr(config, "tokenizer_name_or_path", None):
        load_tokenizer(base.folder.path)  # to refuse as training does
        config.tokenizer_name_or_path = str(base.folder.path)
    with blamed_on(choice.method), quiet_peft():
        adapted: PeftModel = get_peft_model(model, config)
    frozen = _frozen(adapted)
    learning = [parameter for parameter in adapted.parameters() if parameter.requires_grad and parameter not in frozen]
    beside = [tensor for tensor in (*adapted.parameters(), *adapted.buffers()) if tensor not in of_base]
    put_back = [parameter for parameter in learning if parameter in of_base]
    held = sum(parameter.nbytes for parameter in (*beside, *put_back))
    return Trained([parameter.numel() for parameter in learning], held, adapted)


def _frozen(adapted: nn.Module) -> set[object]:
    """What PEFT's layers keep beside what learns, which on the meta device PEFT marks as learning too."""
    layers = [module for module in adapted.modules() if isinstance(module, BaseTunerLayer)]
    others = [getattr(layer, name, None) for layer in layers for name in layer.other_param_names]
    return {parameter for held in others if isinstance(held, nn.ParameterDict) for parameter in held.values()}


def all_of(base: EmptyBase) -> Trained:
    """Every weight of the base, and nothing beside it."""
    return Trained([parameter.numel() for parameter in base.model.parameters()], 0)
