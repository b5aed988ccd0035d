"""Bottleneck adapters: the three placements against a decoder layer written out, and their options."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from adapterhub_bottleneck.method import ACTIVATIONS
from conftest import save_random_adapter
from peft import PeftModel
from torch import Tensor, nn
from training import assert_trains
from transformers import AutoModelForCausalLM
from transformers.activations import get_activation

import adapterhub.peft  # noqa: F401  PEFT learns to load our methods
from adapterhub.adapter import read_folder
from adapterhub.base import BaseModel
from adapterhub.errors import ConfigError
from adapterhub.plugins import installed_methods
from adapterhub.testing.equality import greedy, recording_engine, run, teacher_forced
from adapterhub.testing.tiny_base import save_tiny_llama

BOTTLENECK = installed_methods().get("bottleneck")
PLACEMENTS: dict[str, dict[str, Any]] = {
    "houlsby": {"non_linearity": "swish", "reduction_factor": 4},
    "pfeiffer": {"reduction_factor": {"0": 2, "default": 16}},
    "parallel": {"reduction_factor": 2, "scaling": 4, "leave_out": [1]},
}


@pytest.fixture(scope="module")
def base(tiny_base: Path) -> BaseModel:
    return BaseModel.load(str(tiny_base), quantization="none")


@pytest.fixture(scope="module", params=["none", "nf4"])
def trainable(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> BaseModel:
    """A tiny base whose widths are multiples of nf4's block of 64."""
    folder = save_tiny_llama(tmp_path_factory.mktemp("tiny-64"), hidden=64)
    return BaseModel.load(str(folder), quantization=request.param, device="cpu")


Adapt = Callable[[Tensor], Tensor]


def adapter_at(tensors: Mapping[str, Tensor], module: str, options: Mapping[str, Any]) -> Adapt:
    """s * U f(D x), with the tensors of one module; zero where it has none."""
    at = f"base_model.model.{module}.bottleneck_"
    if f"{at}down" not in tensors:
        return torch.zeros_like
    activation: Any = get_activation(options.get("non_linearity", "relu"))  # type: ignore[no-untyped-call]

    def adapt(x: Tensor) -> Tensor:
        inner = activation(x @ tensors[f"{at}down"].T + tensors[f"{at}down_bias"])
        added: Tensor = (inner @ tensors[f"{at}up"].T + tensors[f"{at}up_bias"]) * options.get("scaling", 1)
        return added

    return adapt


def llama_layer(layer: Any, placement: str, adapt: Mapping[str, Adapt], hidden: Tensor, **given: Any) -> Tensor:
    """A decoder layer of Llama with the adapters where the `adapters` library has them."""
    attended: Tensor = layer.self_attn(layer.input_layernorm(hidden), **given)[0]
    if placement == "houlsby":
        attended = attended + adapt["self_attn"](attended)
    residual = hidden + attended
    fed: Tensor = layer.mlp(layer.post_attention_layernorm(residual))
    if placement == "houlsby":
        fed = fed + adapt["mlp"](fed)
    elif placement == "pfeiffer":
        fed = fed + adapt[""](fed + residual)
    else:
        fed = fed + adapt["mlp"](residual)
    return residual + fed


def written_out(folder: Path, tensors: Mapping[str, Tensor], placement: str) -> nn.Module:
    model: nn.Module = AutoModelForCausalLM.from_pretrained(folder)
    model.train(False)
    for index in range(3):
        name = f"model.layers.{index}"
        parts = ("self_attn", "mlp", "")
        adapt = {part: adapter_at(tensors, f"{name}.{part}".rstrip("."), PLACEMENTS[placement]) for part in parts}
        layer: Any = model.get_submodule(name)
        layer.forward = partial(llama_layer, layer, placement, adapt)
    return model


@pytest.mark.parametrize("placement", PLACEMENTS)
def test_served_is_the_layer_written_out_and_what_peft_computes(
    base: BaseModel, tiny_base: Path, tmp_path: Path, placement: str
) -> None:
    options = {"placement": placement, **PLACEMENTS[placement]}
    folder = save_random_adapter(tmp_path, "bottleneck", base.shape, scale=0.2, **options)
    made = replace(read_folder(folder), digest="sha256:bottleneck")
    requests = [greedy(range(9, 12 + 9 * index), made.digest, 16) for index in range(2)]
    with recording_engine(base, {"": made}, step_tokens=13) as (engine, recorder):
        rows = run(engine, recorder, requests)
        bare = run(engine, recorder, [replace(request, adapter="") for request in requests])
    peft = PeftModel.from_pretrained(AutoModelForCausalLM.from_pretrained(tiny_base), folder).eval()
    for reference in (written_out(tiny_base, made.read_tensors(), placement), peft):
        for request, row, base_row in zip(requests, rows, bare, strict=True):
            expected = teacher_forced(reference, request, row)
            torch.testing.assert_close(row.logits, expected, atol=1e-4, rtol=0)
            assert expected.argmax(dim=-1).tolist() == list(row.tokens)
            assert (row.logits[0] - base_row.logits[0]).abs().max() > 0.05


@pytest.mark.parametrize("placement", PLACEMENTS)
def test_training_through_the_generic_tuner(trainable: BaseModel, tmp_path: Path, placement: str) -> None:
    options = {"placement": placement, **PLACEMENTS[placement]}
    assert_trains(trainable, "bottleneck", tmp_path / "run" / "out", rate=1e-2, options=options)


@pytest.mark.parametrize("name", ACTIVATIONS)
def test_activations_are_those_of_the_adapters_library(name: Any) -> None:
    x = torch.linspace(-4, 4, 33)
    theirs: Any = nn.functional.leaky_relu
    if name != "leakyrelu":
        theirs = get_activation(name)  # type: ignore[no-untyped-call]
    torch.testing.assert_close(ACTIVATIONS[name](x), theirs(x))


def test_widths_by_layer(base: BaseModel) -> None:
    config = BOTTLENECK.Config(reduction_factor={"1": 0.5, "2": 64, "default": 3}, leave_out=(0,))
    widths = {site.module: site.params["down"].shape[0] for site in BOTTLENECK.plan(config, base.shape).sites}
    assert widths == {"model.layers.1": 64, "model.layers.2": 1}


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"reduction_factors": 3}, "unknown option 'reduction_factors'; did you mean 'reduction_factor'"),
        ({"reduction_factor": 0}, "reduction_factor: Input should be greater than 0"),
        ({"reduction_factor": {"0": 4}}, "reduction_factor: nothing for layer 1 and no default"),
        ({"reduction_factor": {"7": 4, "default": 2}}, r"reduction_factor: there is no layer 7 \(accepted: 0 to 2\)"),
        ({"leave_out": [3]}, r"leave_out: there is no layer 3 \(accepted: 0 to 2\)"),
        ({"leave_out": [0, 1, 2]}, "leave_out: no layer is left"),
        ({"placement": "compacter"}, "placement: Input should be 'houlsby', 'parallel' or 'pfeiffer'"),
        ({"non_linearity": "elu"}, "non_linearity: Input should be 'gelu', 'gelu_new'"),
        ({"scaling": "learned"}, "scaling: Input should be a valid number"),
    ],
)
def test_a_wrong_option_is_named_with_what_is_accepted(base: BaseModel, options: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        BOTTLENECK.plan(BOTTLENECK.Config.load(options, where="method bottleneck"), base.shape)


@pytest.mark.parametrize("placement", PLACEMENTS)
def test_layers_of_an_unknown_layout_are_refused_by_name(base: BaseModel, placement: str) -> None:
    shape = replace(base.shape, architecture="PhiForCausalLM", attention_outputs=(), mlp_outputs=(), mlp_inputs=())
    with pytest.raises(ConfigError, match="method bottleneck: not defined for the layers of PhiForCausalLM"):
        BOTTLENECK.plan(BOTTLENECK.Config(placement=placement), shape)
