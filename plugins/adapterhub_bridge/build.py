"""PEFT's layers around the base's linear modules: for their shapes, and with an adapter's tensors to serve it."""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from typing import Any

import torch
from peft import PeftConfig, PeftModel, get_peft_model_state_dict, set_peft_model_state_dict
from peft.tuners.tuners_utils import BaseTunerLayer
from torch import Tensor, nn

from adapterhub import BaseShape, ConfigError, Param, Params, UnsupportedAdapterError
from adapterhub.method import BaseWeights
from adapterhub_bridge.borrowed import Borrowed, Lender
from adapterhub_bridge.layer_op import LayerOp, WeightUse
from adapterhub_bridge.skeleton import skeleton

ADAPTER = "default"


def planned(config: PeftConfig, shape: BaseShape) -> tuple[dict[str, Param], list[str]]:
    """What PEFT saves of an adapter, by name, and the modules that it wraps. Reads no weight.

    Where PEFT computes from weights to make its layers, they are made up: shapes do not depend on them.
    """
    model = _planned(config, shape)
    with _quiet():
        saved = get_peft_model_state_dict(model)
    named = model.named_parameters(remove_duplicate=False)
    learning = {name.replace(f".{ADAPTER}", "") for name, tensor in named if tensor.requires_grad}
    params = {
        key: Param(
            tuple(tensor.shape),
            init="normal",
            trainable=key in learning,
            whole_numbers=not tensor.is_floating_point(),
        )
        for key, tensor in saved.items()
    }
    return params, list(_layers(model))


def _planned(config: PeftConfig, shape: BaseShape) -> PeftModel:
    """On the meta device, where whatever rank an adapter claims takes no memory; a few types look at values.

    Raises ConfigError for options of which PEFT makes no layers.
    """
    with _quiet():
        try:
            with suppress(NotImplementedError, RuntimeError), torch.device("meta"):
                return _made(config, skeleton(shape, None, "meta"))
            with suppress(NotImplementedError):
                return _made(config, skeleton(shape, None, "meta"))
            return _made(config, skeleton(shape, None))
        except ConfigError:
            raise
        except Exception as error:
            reason = str(error).partition("\n")[0]
            raise ConfigError(f"PEFT makes no layers of these options: {type(error).__name__}: {reason}") from error


def layer_ops(
    config: PeftConfig, shape: BaseShape, tensors: Params, base: BaseWeights, use: WeightUse
) -> Mapping[str, LayerOp]:
    """PEFT's layers by the modules they wrap, with the adapter's tensors in them, each tried before it serves.

    On the meta device they are for their sizes. Raises UnsupportedAdapterError for what could not be served exactly.
    """
    if next(iter(tensors.values())).is_meta:
        model = _planned(config, shape)
        _widen(model, _dtype(tensors))
        return {name: LayerOp(name, layer, use) for name, layer in _layers(model).items()}
    with _quiet():
        model, lenders = _filled(config, shape, tensors, base, seed=0)
        guessed = [lender.module for lender in lenders if lender.read and base.floating(lender.module) is None]
        if guessed and _differ(model, _filled(config, shape, tensors, base, seed=1)[0]):
            raise UnsupportedAdapterError(
                f"{guessed[0]}: the method needs the base's weight, which is quantized here; "
                "served on an unquantized base"
            )
    ops = {name: LayerOp(name, layer, use) for name, layer in _layers(model).items()}
    for name, op in ops.items():
        op.settle(_dtype(tensors), quantized=base.floating(name) is None)
        op.check(_dtype(tensors))
    return ops


def _filled(
    config: PeftConfig, shape: BaseShape, tensors: Params, base: BaseWeights, *, seed: int
) -> tuple[PeftModel, list[Lender]]:
    """PEFT's layers with the adapter's tensors in them, and the lenders of the base's weights."""
    bare = skeleton(shape, base, next(iter(tensors.values())).device, seed=seed)
    lenders = [tensor.lender for tensor in bare.parameters() if isinstance(tensor, Borrowed)]
    model = _made(config, bare)
    _widen(model, _dtype(tensors))
    _load(model, dict(tensors))
    return model, lenders


def _dtype(tensors: Params) -> torch.dtype:
    return next(tensor.dtype for tensor in tensors.values() if tensor.is_floating_point())


def _differ(one: nn.Module, other: nn.Module) -> bool:
    """Whether two models, of one adapter over weights that were made up differently, keep different tensors."""
    pairs = zip(_layers(one).items(), _layers(other).values(), strict=True)
    return any(
        not torch.equal(a, b)
        for (name, layer), twin in pairs
        for a, b in zip(LayerOp(name, layer, "own").tensors(), LayerOp(name, twin, "own").tensors(), strict=True)
    )


def _made(config: PeftConfig, model: nn.Module) -> PeftModel:
    """Raises ConfigError with PEFT's own words for options that do not fit the base."""
    try:
        made: PeftModel = PeftModel(model, config, ADAPTER).eval()
    except (ValueError, ImportError) as error:
        raise ConfigError(str(error)) from None
    return made


def _layers(model: nn.Module) -> dict[str, nn.Module]:
    """PEFT's layers by the names of the modules they wrap."""
    prefix = "base_model.model."
    found: list[tuple[str, Any]] = [item for item in model.named_modules() if isinstance(item[1], BaseTunerLayer)]
    return {name.removeprefix(prefix): layer for name, layer in found}


def _widen(model: nn.Module, dtype: torch.dtype) -> None:
    """Everything floating of PEFT's to `dtype`, and parts of larger tensors by themselves; nothing of the base."""
    for module in model.modules():
        for held in (module._parameters, module._buffers):
            for tensor in held.values():
                if tensor is None or isinstance(tensor, Borrowed):
                    continue
                if tensor.dtype == torch.float32:
                    tensor.data = tensor.data.to(dtype)
                if tensor.untyped_storage().nbytes() != tensor.nbytes:
                    tensor.data = tensor.data.clone()


def _load(model: PeftModel, tensors: dict[str, Tensor]) -> None:
    """Put the adapter's tensors in. Raises UnsupportedAdapterError for one that PEFT does not keep as it is."""
    set_peft_model_state_dict(model, tensors)
    kept = get_peft_model_state_dict(model)
    for key, tensor in tensors.items():
        if key not in kept or not torch.equal(kept[key].to(tensor.dtype), tensor):
            raise UnsupportedAdapterError(f"tensor {key} is not what PEFT keeps of it")


@contextmanager
def _quiet() -> Iterator[None]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield
