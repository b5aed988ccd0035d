"""An adapter on a base for as long as it trains, and the base given back as it was."""

from __future__ import annotations

import warnings
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from typing import Any

from peft import PeftConfig, PeftModel, get_peft_model
from torch import nn
from transformers import PreTrainedModel

from adapterhub.base import BaseModel
from adapterhub.peft import SiteTuner


@contextmanager
def attached(base: BaseModel, config: PeftConfig, *, rewritten: Collection[str] = ()) -> Iterator[PeftModel]:
    """A fresh adapter of `config` on `base`, which is given back to the bit.

    Nothing of the base is cast, as k-bit preparation would: its norms and embeddings keep their
    dtype, and the adapter's tensors are in fp32. Kept aside meanwhile are the weights of the modules
    that the adapter's start rewrites, and the base's own biases where they learn.
    """
    model: Any = base.model
    use_cache = model.config.use_cache
    children = {module: list(module.named_children()) for module in model.modules()}
    own = list(model.parameters())
    kept = {weight: weight.data.clone() for name in rewritten for weight in model.get_submodule(name).parameters()}
    adapted: Any = None
    try:
        adapted = wrap(model, config, base.tokenizer.name_or_path)
        kept |= {parameter: parameter.data.clone() for parameter in own if parameter.requires_grad}
        yield adapted
    finally:
        if adapted is not None and isinstance(adapted.base_model, SiteTuner):
            adapted.base_model.unload()  # takes its hooks off too
        else:
            _put_back(children)  # not PEFT's `unload`, which some of its methods refuse on a quantized base
            vars(model).pop("peft_config", None)
        for weight, value in kept.items():
            weight.data = value
            weight.grad = None
        model.config.use_cache = use_cache
        model.eval().requires_grad_(False)


def wrap(model: PreTrainedModel, config: PeftConfig, tokenizer: str) -> PeftModel:
    """A fresh adapter of `config` on `model`, on the model's device; `tokenizer` is where the base's own lies."""
    chosen: Any = config
    if getattr(chosen, "tokenizer_name_or_path", None):  # PEFT reads it where virtual tokens start as a text
        chosen.tokenizer_name_or_path = tokenizer
    with warnings.catch_warnings():
        # PEFT 0.21 asks transformers 5 for it whenever it wraps a model.
        warnings.filterwarnings("ignore", "`is_gradient_checkpointing` is deprecated", FutureWarning)
        # PEFT's LoRA finds GPT-2's transposed linears itself and says so.
        warnings.filterwarnings("ignore", "fan_in_fan_out is set to (False|True) but the target module")
        # Its notes on merging, which is never done here.
        warnings.filterwarnings("ignore", "Model has `tie_word_embeddings=True`")
        warnings.filterwarnings("ignore", "`lora_bias=True` was passed but the targeted layer")
        adapted: PeftModel = get_peft_model(model, config)
        return adapted


def _put_back(children: dict[nn.Module, list[tuple[str, nn.Module]]]) -> None:
    """Make each module's children those that they were."""
    for parent, own in children.items():
        for name, child in own:
            if getattr(parent, name) is not child:
                setattr(parent, name, child)
