"""A base kept as it is while adapters come and go on it."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from torch import Tensor, nn

from adapterhub.peft import SiteTuner


class BaseKept:
    """What a frozen model is like, taken before PEFT wraps it; `give_back` makes it so again, to the bit."""

    def __init__(self, model: Any, rewritten: Iterable[str] = ()) -> None:
        """`rewritten`: the modules whose weights an adapter's start changes, by their names."""
        self._model = model
        self._settings = [(each, dict(vars(each))) for each in _configs(model)]
        self._modules = [_Module(module) for module in model.modules()]
        self._own = list(model.parameters())
        self._values: dict[Tensor, Tensor] = {
            weight: weight.data.clone()
            for name in rewritten
            for weight in model.get_submodule(name).parameters()
            if weight.is_floating_point()  # none that is held in a few bits is rewritten
        }

    def keep_learning(self) -> None:
        """Keep the values of the base's own parameters that learn from now on, such as its biases."""
        self._values |= {parameter: parameter.data.clone() for parameter in self._own if parameter.requires_grad}

    def keep_overwritten(self, tensors: Iterable[str]) -> None:
        """Keep the values of the base's own parameters that stand in an adapter's file too: PEFT loads them there."""
        own = dict(self._model.named_parameters())
        names = (key.removeprefix("base_model.model.").replace(".base_layer.", ".") for key in tensors)
        self._values |= {own[name]: own[name].data.clone() for name in names if name in own}

    def give_back(self, adapted: Any) -> None:
        """The base as it was; `adapted` is what PEFT made of it, or None."""
        if adapted is not None and isinstance(adapted.base_model, SiteTuner):
            adapted.base_model.unload()  # takes its hooks off too
        for module in self._modules:  # not by PEFT's `unload`, which some of its methods refuse on a quantized base
            module.put_back()
        for weight, value in self._values.items():
            weight.data = value
            weight.grad = None
        for config, values in self._settings:  # trainers write the tokenizer's special tokens there
            vars(config).clear()
            vars(config).update(values)
        self._model.eval().requires_grad_(False)


def _configs(model: Any) -> list[Any]:
    """What says how the model computes and generates; the text's part apart, where it has one."""
    found = {id(each): each for each in (model.config, model.config.get_text_config(), model.generation_config)}
    return list(found.values())


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
