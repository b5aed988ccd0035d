"""The generic PEFT tuner: methods PEFT does not know train, save and load through PEFT all the same."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from conftest import save_random_adapter
from peft import PeftModel, get_peft_model
from pydantic import Field
from torch import Tensor, nn
from transformers import AutoModelForCausalLM

from adapterhub import BaseShape, Method, MethodConfig, Param, Params, Site
from adapterhub.adapter import read_folder
from adapterhub.base.shape import shape_of
from adapterhub.errors import ConfigError, UnsupportedAdapterError
from adapterhub.peft import peft_config, register
from adapterhub.plugins import installed_methods

IDS = torch.arange(20, 44).reshape(2, 12)
BOTTLENECK = installed_methods().get("bottleneck")


@pytest.fixture
def model(tiny_base: Path) -> nn.Module:
    loaded: nn.Module = AutoModelForCausalLM.from_pretrained(tiny_base)
    return loaded


def logits(model: nn.Module) -> Tensor:
    with torch.no_grad():
        result: Tensor = model(input_ids=IDS).logits
    return result


def wrapped(model: nn.Module, method: Method[Any], **options: Any) -> PeftModel:
    result: PeftModel = get_peft_model(model, peft_config(method, method.Config.load(options, where="test")))
    return result


def randomize(model: PeftModel) -> None:
    for parameter in model.parameters():
        if parameter.requires_grad:
            nn.init.normal_(parameter, std=0.3)


def expected_logits(model: nn.Module, folder: Path, **options: Any) -> Tensor:
    """The base's logits with `post` applied by hooks: the contract's own meaning, without PEFT."""
    config = BOTTLENECK.Config.load(options, where="test")
    tensors = read_folder(folder).read_tensors()
    handles = []
    for site in BOTTLENECK.plan(config, shape_of(model)).sites:
        p = {name: tensors[BOTTLENECK.key(site, name)] for name in site.params}
        handles.append(model.get_submodule(site.module).register_forward_hook(_post_hook(config, p)))
    result = logits(model)
    for handle in handles:
        handle.remove()
    return result


def _post_hook(config: MethodConfig, p: Params) -> Callable[..., Any]:
    def hook(module: nn.Module, args: Any, output: Any) -> Any:
        y = output[0] if isinstance(output, tuple) else output
        changed = BOTTLENECK.post(config, p, y, y)
        return (changed, *output[1:]) if isinstance(output, tuple) else changed

    return hook


def test_a_fresh_adapter_is_the_identity_and_only_its_tensors_learn(model: nn.Module) -> None:
    bare = logits(model)
    adapted = wrapped(model, BOTTLENECK, placement="houlsby", reduction_factor=4)
    assert torch.equal(logits(adapted), bare)
    learning = [name for name, parameter in adapted.named_parameters() if parameter.requires_grad]
    assert len(learning) == 2 * 3 * 4
    assert all(".adapterhub_" in name for name in learning)


@pytest.mark.parametrize("placement", ["houlsby", "pfeiffer"])
def test_peft_loads_a_folder_and_computes_pre_and_post(model: nn.Module, tmp_path: Path, placement: str) -> None:
    options: dict[str, Any] = {"placement": placement, "reduction_factor": 4}
    folder = save_random_adapter(tmp_path, "bottleneck", shape_of(model), **options)
    bare, wanted = logits(model), expected_logits(model, folder, **options)
    adapted = PeftModel.from_pretrained(model, folder)
    assert torch.equal(logits(adapted), wanted)
    assert (wanted - bare).abs().max() > 0.05
    with adapted.disable_adapter():
        assert torch.equal(logits(adapted), bare)


def test_saved_keys_are_the_plans_and_load_again(model: nn.Module, tmp_path: Path) -> None:
    adapted = wrapped(model, BOTTLENECK, reduction_factor=4)
    randomize(adapted)
    wanted = logits(adapted)
    adapted.save_pretrained(str(tmp_path), save_embedding_layers=False)
    adapted.unload()
    adapter = read_folder(tmp_path)
    config = BOTTLENECK.Config.from_peft(adapter.config, where="test")
    adapter.check_plan(BOTTLENECK.plan(config, shape_of(model)), base="tiny")
    assert config == BOTTLENECK.Config(reduction_factor=4)
    assert torch.equal(logits(PeftModel.from_pretrained(model, tmp_path, low_cpu_mem_usage=True)), wanted)


def test_a_second_adapter_at_other_sites_keeps_to_itself(model: nn.Module, tmp_path: Path) -> None:
    bare = logits(model)
    adapted = wrapped(model, BOTTLENECK, placement="pfeiffer")
    randomize(adapted)
    first = logits(adapted)
    adapted.add_adapter("second", peft_config(BOTTLENECK, BOTTLENECK.Config(placement="houlsby")))
    assert torch.equal(logits(adapted), first)
    adapted.set_adapter("second")
    assert torch.equal(logits(adapted), bare)
    randomize(adapted)
    adapted.save_pretrained(str(tmp_path), save_embedding_layers=False, selected_adapters=["second"])
    plan = BOTTLENECK.plan(BOTTLENECK.Config(placement="houlsby"), shape_of(adapted.unload()))
    read_folder(tmp_path / "second").check_plan(plan, base="tiny")


def test_unload_gives_the_base_back_as_it_was(model: nn.Module) -> None:
    bare, keys = logits(model), list(model.state_dict())
    adapted = wrapped(model, BOTTLENECK)
    randomize(adapted)
    assert adapted.unload() is model
    assert list(model.state_dict()) == keys
    assert torch.equal(logits(model), bare)


def test_merging_is_refused(model: nn.Module) -> None:
    adapted = wrapped(model, BOTTLENECK)
    for merge in (adapted.merge_and_unload, adapted.merge_adapter):
        with pytest.raises(UnsupportedAdapterError, match="'bottleneck' has no merge"):
            merge()


def test_a_wrong_option_is_named() -> None:
    config_class: Any = type(peft_config(BOTTLENECK, BOTTLENECK.Config()))
    with pytest.raises(ConfigError, match=r"bottleneck: reduction_factor: .*greater than 0"):
        config_class(reduction_factor=-1)


class GateConfig(MethodConfig):
    target_modules: tuple[str, ...]
    strength: float = Field(default=1.0, gt=0)


class Gate(Method[GateConfig]):
    """Scales what goes into linear modules; its `offset` is kept but never trained."""

    name, peft_type, Config = "gate", "GATE", GateConfig

    def sites(self, config: GateConfig, shape: BaseShape) -> list[Site]:
        names = [name for name in shape.linears if name.endswith(config.target_modules)]
        width = {name: shape.modules[name].in_features for name in names}
        params = {
            name: {"scale": Param((width[name],), "ones"), "offset": Param((1,), "normal", trainable=False)}
            for name in names
        }
        return [Site("module", params[name], module=name) for name in names]

    def pre(self, config: GateConfig, p: Params, x: Tensor) -> Tensor:
        return x * p["scale"] * config.strength

    def post(self, config: GateConfig, p: Params, x: Tensor, y: Tensor) -> Tensor:
        return y + p["offset"]


def test_a_strangers_method_acts_before_linear_modules_with_a_frozen_tensor(model: nn.Module) -> None:
    register(Gate())
    bare = logits(model)
    adapted = wrapped(model, Gate(), target_modules=["q_proj", "down_proj"])
    # `gate_proj` of the base begins like the method's name, and learns nothing all the same
    learning = [name for name, p in adapted.named_parameters() if p.requires_grad]
    assert learning
    assert all(name.endswith(".adapterhub_scale.default") for name in learning)
    adapted.load_state_dict(
        {name: torch.zeros_like(p) for name, p in adapted.named_parameters() if "offset" in name}, strict=False
    )
    assert torch.equal(logits(adapted), bare)
    randomize(adapted)
    assert (logits(adapted) - bare).abs().max() > 0.05


class Tied(Method[MethodConfig]):
    """One down-projection for all decoder layers, an up-projection for each."""

    name, peft_type, Config = "tied", "TIED", MethodConfig

    def sites(self, config: MethodConfig, shape: BaseShape) -> list[Site]:
        up = {"up": Param((shape.hidden_size, 4))}
        down = {"down": Param((4, shape.hidden_size), init="kaiming_uniform")}
        return [*(Site("module", up, module=name) for name in shape.layers), Site("shared", down)]

    def post(self, config: MethodConfig, p: Params, x: Tensor, y: Tensor) -> Tensor:
        return y + (x @ p["down"].T) @ p["up"].T


def test_a_shared_tensor_is_kept_once_and_learns_from_all_its_sites(model: nn.Module, tmp_path: Path) -> None:
    register(Tied())
    bare, shape = logits(model), shape_of(model)
    adapted = wrapped(model, Tied())
    randomize(adapted)
    adapted(input_ids=IDS, labels=IDS).loss.backward()
    learning = {name: p for name, p in adapted.named_parameters() if p.requires_grad}
    assert [name for name, p in learning.items() if p.grad is None or not p.grad.abs().max()] == []
    assert sum("down" in name for name in learning) == 1
    wanted = logits(adapted)
    adapted.save_pretrained(str(tmp_path), save_embedding_layers=False)
    assert torch.equal(logits(adapted.unload()), bare)
    assert torch.equal(logits(PeftModel.from_pretrained(model, tmp_path)), wanted)
    tensors = read_folder(tmp_path).tensors
    assert tensors.keys() == Tied().plan(MethodConfig(), shape).shapes().keys()
