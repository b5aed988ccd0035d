"""Whole models, quantized: close to the float model, heads and embeddings as promised."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from bitsandbytes.functional import dequantize_4bit
from bitsandbytes.nn.modules import Linear4bit
from torch import Tensor, nn
from transformers import GPT2Config, GPT2LMHeadModel, LlamaConfig, LlamaForCausalLM, PreTrainedModel
from transformers.pytorch_utils import Conv1D

from adapterhub.base import BaseModel, Int8Linear
from adapterhub.testing import save_tokenizer

IDS = torch.arange(2, 34).unsqueeze(0)


def logits(model: PreTrainedModel) -> Tensor:
    with torch.no_grad():
        result: Tensor = model(input_ids=IDS).logits
    return result


def cosine(a: Tensor, b: Tensor) -> float:
    return float(nn.functional.cosine_similarity(a.flatten(), b.flatten(), dim=0))


def dequantized(layer: Any) -> Tensor:
    """The weight of a bitsandbytes 4-bit layer, [out, in]."""
    weight: Tensor = dequantize_4bit(layer.weight.data, layer.weight.quant_state)
    return weight


def save(model: PreTrainedModel, folder: Path) -> Path:
    model.save_pretrained(folder)
    save_tokenizer(folder)
    return folder


@pytest.fixture(scope="module")
def tied_base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=258,
        hidden_size=64,
        intermediate_size=96,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        tie_word_embeddings=True,
        bos_token_id=0,
        eos_token_id=1,
    )
    return save(LlamaForCausalLM(config), tmp_path_factory.mktemp("tied"))


@pytest.fixture(scope="module")
def conv1d_base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    torch.manual_seed(0)
    config = GPT2Config(
        vocab_size=258, n_embd=64, n_layer=2, n_head=4, initializer_range=0.2, bos_token_id=0, eos_token_id=1
    )
    return save(GPT2LMHeadModel(config), tmp_path_factory.mktemp("conv1d"))


@pytest.mark.parametrize("base", ["tiny_base", "tied_base", "conv1d_base"])
def test_an_int8_model_is_close_to_the_float_model(base: str, request: pytest.FixtureRequest) -> None:
    folder = str(request.getfixturevalue(base))
    exact = logits(BaseModel.load(folder, quantization="none", device="cpu").model)
    int8 = logits(BaseModel.load(folder, quantization="int8", device="cpu").model)
    assert cosine(int8, exact) > 0.999
    assert not torch.equal(int8, exact)


@pytest.mark.parametrize(("base", "packed"), [("tiny_base", 3), ("tied_base", 12), ("conv1d_base", 8)])
def test_an_nf4_model_computes_with_the_weights_it_was_made_of(
    base: str, packed: int, request: pytest.FixtureRequest
) -> None:
    folder = str(request.getfixturevalue(base))
    truth = BaseModel.load(folder, quantization="none", device="cpu").model
    nf4 = BaseModel.load(folder, quantization="nf4", device="cpu").model
    layers = [(name, layer) for name, layer in nf4.named_modules() if isinstance(layer, Linear4bit)]
    assert len(layers) == packed
    for name, layer in layers:
        original = truth.get_submodule(name)
        weight = dequantized(layer)
        assert isinstance(original.weight, nn.Parameter)
        original.weight.data = weight.t() if isinstance(original, Conv1D) else weight
    assert torch.allclose(logits(nf4), logits(truth), atol=1e-4)


def test_layers_whose_rows_are_no_whole_blocks_stay_floating_on_the_cpu(tied_base: Path) -> None:
    # bitsandbytes' CPU kernel dequantizes them with other scales than they were quantized with.
    base = BaseModel.load(str(tied_base), quantization="nf4", device="cpu")
    floating = [name for name in base.shape.linears if type(base.model.get_submodule(name)) is nn.Linear]
    assert floating == ["model.layers.0.mlp.down_proj", "model.layers.1.mlp.down_proj"]
    exact = BaseModel.load(str(tied_base), quantization="none", device="cpu")
    for name in base.shape.linears:
        layer, weight = base.model.get_submodule(name), exact.model.get_parameter(f"{name}.weight")
        if isinstance(layer, Linear4bit):
            assert cosine(dequantized(layer), weight) > 0.995


def test_int8_leaves_no_float_linear(conv1d_base: Path) -> None:
    base = BaseModel.load(str(conv1d_base), quantization="int8", device="cpu")
    for name in (*base.shape.linears, base.shape.lm_head):
        assert isinstance(base.model.get_submodule(name), Int8Linear), name


def test_a_tied_head_gets_its_own_int8_copy_and_the_embedding_stays_floating(tied_base: Path) -> None:
    exact = BaseModel.load(str(tied_base), quantization="none", device="cpu").model
    model = BaseModel.load(str(tied_base), quantization="int8", device="cpu").model
    head, table = model.get_submodule("lm_head"), model.get_parameter("model.embed_tokens.weight")
    assert isinstance(head, Int8Linear)
    assert torch.equal(table, exact.get_parameter("model.embed_tokens.weight"))
    assert torch.allclose(head.dequantize(), table, atol=float(table.abs().max()) / 250)


@pytest.mark.parametrize("base", ["tiny_base", "tied_base"])
def test_nf4_leaves_embedding_and_head_floating(base: str, request: pytest.FixtureRequest) -> None:
    model = BaseModel.load(str(request.getfixturevalue(base)), quantization="nf4", device="cpu").model
    assert type(model.get_submodule("lm_head")) is nn.Linear
    assert model.get_parameter("lm_head.weight").dtype == torch.float32
    assert model.get_parameter("model.embed_tokens.weight").dtype == torch.float32


def test_nf4_trains_after_an_evaluation_and_both_forwards_agree(tiny_base: Path) -> None:
    # Without keep_nf4_portable, the evaluation repacks the weights on CPUs with AVX512-BF16.
    model = BaseModel.load(str(tiny_base), quantization="nf4", device="cpu").model
    evaluated = logits(model)
    embeddings = model.get_input_embeddings()(IDS).requires_grad_(True)
    trained = model.train()(inputs_embeds=embeddings).logits
    trained.square().mean().backward()
    assert torch.allclose(trained, evaluated, atol=1e-5, rtol=1e-5)
    assert embeddings.grad is not None
    assert embeddings.grad.abs().sum() > 0
    assert torch.allclose(logits(model.train(False)), evaluated, atol=1e-5, rtol=1e-5)
