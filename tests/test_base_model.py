"""The loaded base: frozen, identified, counted, and refused when it is not whole."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import get_args

import pytest
import torch
from safetensors.torch import load_file, save_file

from adapterhub.base import BaseModel, Quantization, base_digest, read_base, read_shape, shape_of
from adapterhub.errors import BaseNotFoundError, ConfigError


@pytest.fixture
def copied_base(tiny_base: Path, tmp_path: Path) -> Path:
    """A copy of `tiny_base` that a test may spoil."""
    return shutil.copytree(tiny_base, tmp_path / "copied")


def logits(base: BaseModel) -> torch.Tensor:
    with torch.no_grad():
        result: torch.Tensor = base.model(input_ids=torch.arange(2, 20).unsqueeze(0)).logits
    return result


@pytest.mark.parametrize("quantization", ["none", "int8", "nf4"])
def test_a_base_is_frozen_and_says_what_it_is(tiny_base: Path, quantization: Quantization) -> None:
    base = BaseModel.load(str(tiny_base), quantization=quantization, device="cpu")
    assert not base.model.training
    assert not any(parameter.requires_grad for parameter in base.model.parameters())
    assert base.record.digest == base_digest(tiny_base)
    assert base.record.id == tiny_base.name
    assert base.shape == read_shape(tiny_base) == read_base(str(tiny_base))[1]
    assert logits(base).dtype == base.compute_dtype == torch.float32


def test_a_cpu_serves_int8_by_default(tiny_base: Path) -> None:
    assert BaseModel.load(str(tiny_base), device="cpu").quantization == "int8"


def test_the_float_model_is_transformers_own(tiny_base: Path) -> None:
    from transformers import LlamaForCausalLM

    base = BaseModel.load(str(tiny_base), quantization="none", device="cpu")
    ids = torch.arange(2, 20).unsqueeze(0)
    with torch.no_grad():
        assert torch.equal(logits(base), LlamaForCausalLM.from_pretrained(tiny_base)(input_ids=ids).logits)
    assert base.shape == shape_of(base.model)


def test_every_quantization_has_its_own_runtime_digest(tiny_base: Path, other_base: Path) -> None:
    refs: list[tuple[Path, Quantization]] = [(tiny_base, "none"), (tiny_base, "int8"), (tiny_base, "nf4")]
    refs.append((other_base, "none"))
    digests = [BaseModel.load(str(ref), quantization=chosen, device="cpu").runtime_digest for ref, chosen in refs]
    assert len(set(digests)) == 4
    assert digests[0] == BaseModel.load(str(tiny_base), quantization="none", device="cpu").runtime_digest


def test_a_later_write_to_the_file_does_not_reach_the_loaded_base(copied_base: Path) -> None:
    base = BaseModel.load(str(copied_base), quantization="none", device="cpu")
    before = logits(base)
    with (copied_base / "model.safetensors").open("r+b") as file:
        file.seek(-20_000, 2)
        file.write(bytes(20_000))
    assert torch.equal(logits(base), before)


def test_pickled_weights_are_refused(copied_base: Path) -> None:
    torch.save(load_file(copied_base / "model.safetensors"), copied_base / "pytorch_model.bin")
    (copied_base / "model.safetensors").unlink()
    with pytest.raises(BaseNotFoundError, match=r"pickled weights \(pytorch_model\.bin\) are never loaded"):
        BaseModel.load(str(copied_base), device="cpu")


def test_missing_weights_are_refused(copied_base: Path) -> None:
    # transformers only warns, and goes on with random values.
    weights = load_file(copied_base / "model.safetensors")
    del weights["model.layers.1.mlp.up_proj.weight"]
    save_file(weights, copied_base / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(BaseNotFoundError, match=r"weight model\.layers\.1\.mlp\.up_proj\.weight is missing$"):
        BaseModel.load(str(copied_base), device="cpu")


def test_weights_of_another_shape_are_refused(copied_base: Path, other_base: Path) -> None:
    shutil.copy(other_base / "model.safetensors", copied_base / "model.safetensors")
    with pytest.raises(BaseNotFoundError, match=r"weight lm_head\.weight has another shape .* \(and 29 more\)"):
        BaseModel.load(str(copied_base), device="cpu")


def test_a_base_without_tokenizer_is_refused(copied_base: Path) -> None:
    for file in copied_base.glob("tokenizer*"):
        file.unlink()
    with pytest.raises(BaseNotFoundError, match="no usable tokenizer"):
        BaseModel.load(str(copied_base), device="cpu")


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        ({"quantization_config": {"quant_method": "gptq", "bits": 4}}, "quantized already"),
        ({"model_type": "nosuch"}, "not a causal language model"),
        ({"model_type": "own", "auto_map": {"AutoConfig": "code.Config"}}, "not a causal language model"),
    ],
)
def test_a_config_that_cannot_be_served_is_refused(copied_base: Path, change: dict[str, object], problem: str) -> None:
    file = copied_base / "config.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | change))
    with pytest.raises(BaseNotFoundError, match=problem):
        read_base(str(copied_base))


@pytest.mark.parametrize(
    ("options", "problem"),
    [
        ({"quantization": "int4"}, "quantization: 'int4' is unknown .accepted: none, int8, nf4."),
        ({"device": "toaster"}, "device: 'toaster' is not served"),
        ({"device": "meta"}, "accepted: cpu, cuda"),
    ],
)
def test_an_unknown_option_says_what_is_accepted(tiny_base: Path, options: dict[str, str], problem: str) -> None:
    with pytest.raises(ConfigError, match=problem):
        BaseModel.load(str(tiny_base), **options)  # type: ignore[arg-type]


def test_the_built_in_base_shrinks_with_quantization_and_still_answers() -> None:
    held = {}
    for quantization in get_args(Quantization):
        base = BaseModel.load("smollm2-135m", quantization=quantization, device="cpu")
        held[quantization] = base.weight_bytes
        ids = base.tokenizer("The capital of France is", return_tensors="pt")["input_ids"]
        with torch.no_grad():
            last = base.model(input_ids=ids).logits[0, -1]
        assert base.tokenizer.decode([int(last.argmax())]) == " Paris"
    assert held["none"] > held["int8"] > held["nf4"]
    assert held["none"] // 10**6 == 538
