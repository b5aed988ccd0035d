"""Bottleneck adapters of the `adapters` library: converted with the same mathematics, or refused by name."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from test_bottleneck import Adapt, llama_layer
from test_cli import run as cli
from torch import Tensor, nn
from transformers import AutoModelForCausalLM
from transformers.activations import get_activation

from adapterhub.adapter import CONFIG_FILE, TENSORS_FILE
from adapterhub.base import BaseModel
from adapterhub.store import Store
from adapterhub.testing.equality import greedy, recording_engine, run, teacher_forced

SAVED = Path(__file__).parent / "adapters_library"
PLACEMENTS = {"seq_bn": "pfeiffer", "double_seq_bn": "houlsby", "par_bn": "parallel"}
THEIR_TENSORS = "adapter.safetensors"


@pytest.fixture
def saved(tmp_path: Path) -> Path:
    return Path(shutil.copytree(SAVED / "seq_bn", tmp_path / "saved"))


def block(tensors: Mapping[str, Tensor], at: str, config: Mapping[str, Any]) -> Adapt:
    """s * U f(D x) of one adapter of the library; zero where it has none."""
    at = f"{at}.adapters.sums.adapter"
    if f"{at}_up.weight" not in tensors:
        return torch.zeros_like
    activation: Any = get_activation(config["non_linearity"])  # type: ignore[no-untyped-call]

    def adapt(x: Tensor) -> Tensor:
        inner = activation(nn.functional.linear(x, tensors[f"{at}_down.0.weight"], tensors[f"{at}_down.0.bias"]))
        up = nn.functional.linear(inner, tensors[f"{at}_up.weight"], tensors[f"{at}_up.bias"])
        added: Tensor = up * config["scaling"]
        return added

    return adapt


def written_out(base: Path, folder: Path, placement: str) -> nn.Module:
    """The base with the library's adapters in its decoder layers, from the library's own files."""
    tensors = load_file(folder / THEIR_TENSORS)
    config = json.loads((folder / CONFIG_FILE).read_text())["config"]
    model: nn.Module = AutoModelForCausalLM.from_pretrained(base)
    for index in range(3):
        at = f"model.layers.{index}"
        output = block(tensors, f"{at}.output_adapters", config)
        adapt = {"self_attn": block(tensors, f"{at}.attention_adapters", config), "mlp": output, "": output}
        layer: Any = model.get_submodule(at)
        layer.forward = partial(llama_layer, layer, placement, adapt)
    return model.train(False)


@pytest.mark.parametrize("name", PLACEMENTS)
def test_it_is_served_as_the_library_computes_it(tiny_base: Path, name: str) -> None:
    assert cli("import", str(SAVED / name), "sums", "--base", str(tiny_base)).exit_code == 0
    adapter = Store.default().resolve("sums")
    base = BaseModel.load(str(tiny_base), quantization="none")
    requests = [greedy(range(9, 40), adapter.digest, 8), greedy(range(9, 40), "", 1)]
    with recording_engine(base, {"": adapter}) as (engine, recorder):
        row, bare = run(engine, recorder, requests)
    expected = teacher_forced(written_out(tiny_base, SAVED / name, PLACEMENTS[name]), requests[0], row)
    torch.testing.assert_close(row.logits, expected, atol=1e-4, rtol=0)
    assert (row.logits[0] - bare.logits[0]).abs().max() > 0.05


def test_the_record_says_what_it_was_converted_from_and_claims_no_base() -> None:
    first = cli("import", str(SAVED / "par_bn"), "sums", "--json")
    provenance = Store.default().resolve("sums").provenance
    assert provenance is not None
    source = provenance.converted_from
    assert {name: source[name] for name in ("library", "version", "adapter")} == {
        "library": "adapters",
        "version": "1.3.0",
        "adapter": "sums",
    }
    assert set(source["files"]) == {CONFIG_FILE, THEIR_TENSORS}
    assert (provenance.base, provenance.prompt_format, provenance.quantization) == (None, None, "")
    assert json.loads(first.stdout)["converted_from"] == source
    again = cli("import", str(SAVED / "par_bn"), "again")
    assert again.stdout.strip().endswith(json.loads(first.stdout)["digest"]), "the same files, the same identity"
    assert "(unverified)" in cli("ls").stdout


OPTIONS = {
    "adapter_norm": ({"ln_after": True}, "option ln_after=True is not served"),
    "architecture": ({"architecture": "lora"}, "architecture 'lora'; converted: bottleneck adapters"),
    "attention_only": ({"output_adapter": False}, "output_adapter: Input should be True"),
    "cross_attention": ({"cross_adapter": True}, "option cross_adapter=True is not served"),
    "gates": ({"use_gating": True}, "option use_gating=True is not served"),
    "invertible": ({"inv_adapter": "nice"}, "option inv_adapter='nice' is not served"),
    "learned_scaling": ({"scaling": "learned"}, "scaling: Input should be a valid number"),
    "no_residual": ({"original_ln_after": False}, "original_ln_after: Input should be True"),
    "norm_before": ({"ln_before": True}, "option ln_before=True is not served"),
    "of_later_releases": ({"rotation": "givens"}, "option rotation='givens' is not served"),
    "parallel_attention": ({"is_parallel": True, "mh_adapter": True}, "mh_adapter=True is not served"),
    "phm": ({"phm_layer": True}, "option phm_layer=True is not served"),
    "residual_behind": ({"residual_before_ln": False}, "residual_before_ln=False is not served"),
    "residual_of_both": ({"mh_adapter": True}, "original_ln_before=True is not served; the nearest is houlsby"),
    "sum_left_out": ({"original_ln_before": False}, "original_ln_before=False is not served; the nearest is pfeiffer"),
    "unknown_function": ({"non_linearity": "xielu"}, "non_linearity: Input should be 'gelu', "),
}


@pytest.mark.parametrize("option", OPTIONS)
def test_an_option_with_another_effect_is_refused_by_name(saved: Path, option: str) -> None:
    options, message = OPTIONS[option]
    read = json.loads((saved / CONFIG_FILE).read_text())
    (saved / CONFIG_FILE).write_text(json.dumps(read | {"config": read["config"] | options}))
    refused = cli("import", str(saved), "sums")
    assert refused.exit_code == 7, refused.output
    assert message in refused.stderr
    assert Store.default().list() == ()


def test_an_option_without_effect_in_serving_is_not_held_against_it(saved: Path) -> None:
    values = json.loads((saved / CONFIG_FILE).read_text())
    values["config"] |= {"dropout": 0.2, "adapter_residual_before_ln": True, "init_weights_seed": 3, "phm_dim": 8}
    (saved / CONFIG_FILE).write_text(json.dumps(values))
    assert cli("import", str(saved), "sums").exit_code == 0


VALUES: dict[str, tuple[dict[str, Any], str]] = {
    "family": ({"model_type": "bert"}, "model_type 'bert' (converted: gpt2, llama, mistral)"),
    "unhashable": ({"model_type": ["llama"]}, "model_type \"['llama']\""),
    "release": ({"version": "3.2.1"}, "no layout that an installed method can convert"),
    "reference": ({"config": "pfeiffer"}, "config: need the options themselves"),
    "name": ({"name": "other"}, "is none of a pfeiffer adapter 'other'"),
}


@pytest.mark.parametrize("value", VALUES)
def test_what_else_its_config_says_is_held_to(saved: Path, value: str) -> None:
    values, message = VALUES[value]
    read = json.loads((saved / CONFIG_FILE).read_text())
    (saved / CONFIG_FILE).write_text(json.dumps(read | values))
    refused = cli("import", str(saved), "sums")
    assert (refused.exit_code, message in refused.stderr) == (7, True), refused.output


RENAMES: dict[str, tuple[Callable[[str], str], str]] = {
    "elsewhere": (lambda name: f"roberta.{name}", "is none of a pfeiffer adapter 'sums' in model.layers"),
    "behind_attention": (lambda name: name.replace("output", "attention"), "is none of a pfeiffer adapter"),
    "of_another_part": (lambda name: name.replace("adapter_up", "gate"), "is none of a pfeiffer adapter"),
}


@pytest.mark.parametrize("where", RENAMES)
def test_a_tensor_without_a_place_is_refused_by_name(saved: Path, where: str) -> None:
    rename, message = RENAMES[where]
    save_file({rename(name): tensor for name, tensor in load_file(saved / THEIR_TENSORS).items()}, saved / "new")
    (saved / "new").replace(saved / THEIR_TENSORS)
    refused = cli("import", str(saved), "sums")
    assert (refused.exit_code, message in refused.stderr) == (7, True), refused.output
    assert f"{THEIR_TENSORS}: tensor '" in refused.stderr


def test_a_missing_tensor_is_found_on_the_base(saved: Path, tiny_base: Path) -> None:
    tensors = load_file(saved / THEIR_TENSORS)
    del tensors["model.layers.2.output_adapters.adapters.sums.adapter_up.bias"]
    save_file(tensors, saved / THEIR_TENSORS)
    refused = cli("import", str(saved), "sums", "--base", str(tiny_base))
    assert refused.exit_code == 7
    assert "base_model.model.model.layers.2.bottleneck_up_bias: missing" in refused.stderr


@pytest.mark.parametrize("name", ["model_head.safetensors", "pytorch_model_head.bin", "embedding.pt"])
def test_what_was_trained_beside_it_is_not_dropped_silently(saved: Path, name: str) -> None:
    (saved / name).touch()
    refused = cli("import", str(saved), "sums")
    assert (refused.exit_code, f"{saved / name}: " in refused.stderr) == (7, True), refused.output


@pytest.mark.parametrize(
    ("there", "message"),
    [
        ("pytorch_adapter.bin", "pickled weights are never loaded; need adapter.safetensors"),
        (TENSORS_FILE, "no adapter.safetensors"),
    ],
)
def test_only_its_safetensors_are_read(saved: Path, there: str, message: str) -> None:
    (saved / THEIR_TENSORS).rename(saved / there)
    refused = cli("import", str(saved), "sums")
    assert (refused.exit_code, message in refused.stderr) == (7, True), refused.output
