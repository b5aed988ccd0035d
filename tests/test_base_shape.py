"""The shape of a base: read without weights, and the same for the families a plan must fit."""

from __future__ import annotations

import pytest
import torch
from transformers import AutoConfig, AutoModelForCausalLM, PretrainedConfig

from adapterhub.base import shape_of
from adapterhub.errors import BaseNotFoundError
from adapterhub.method import BaseShape, ModuleShape

SMALL = {
    "vocab_size": 64,
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 16,
}


def shape_for(family: str, **options: object) -> BaseShape:
    config: PretrainedConfig = AutoConfig.for_model(family, **options)
    with torch.device("meta"):
        return shape_of(AutoModelForCausalLM.from_config(config))  # type: ignore[no-untyped-call]


@pytest.mark.parametrize("family", ["llama", "qwen2", "qwen3", "mistral"])
def test_a_pre_norm_decoder(family: str) -> None:
    shape = shape_for(family, **SMALL)
    assert (shape.hidden_size, shape.num_layers, shape.num_kv_heads, shape.vocab_size) == (32, 2, 2, 64)
    assert shape.layers == ("model.layers.0", "model.layers.1")
    assert shape.attention_outputs[1] == "model.layers.1.self_attn"
    assert shape.mlp_outputs[1] == "model.layers.1.mlp"
    assert shape.mlp_inputs[1] == "model.layers.1.post_attention_layernorm"
    assert shape.modules["model.layers.0.mlp.down_proj"] == ModuleShape("linear", 48, 32)
    assert shape.modules["model.norm"].kind == "norm"
    assert len(shape.linears) == 14
    assert shape.lm_head == "lm_head"


def test_gpt2_with_its_transposed_layers() -> None:
    shape = shape_for("gpt2", vocab_size=64, n_embd=32, n_layer=2, n_head=4)
    assert shape.modules["transformer.h.0.attn.c_attn"] == ModuleShape("conv1d", 32, 96, bias=True)
    assert (shape.head_dim, shape.num_kv_heads, shape.max_positions) == (8, 4, 1024)
    assert shape.attention_outputs == ("transformer.h.0.attn", "transformer.h.1.attn")
    assert shape.mlp_inputs == ("transformer.h.0.ln_2", "transformer.h.1.ln_2")


def test_with_norms_behind_the_parts_these_are_what_joins_the_residual() -> None:
    shape = shape_for("gemma2", **SMALL)
    assert shape.head_dim == 16
    assert shape.attention_outputs[0] == "model.layers.0.post_attention_layernorm"
    assert shape.mlp_outputs[0] == "model.layers.0.post_feedforward_layernorm"
    assert shape.mlp_inputs[0] == "model.layers.0.pre_feedforward_layernorm"


def test_without_norms_in_front_a_part_takes_the_residual_itself() -> None:
    shape = shape_for("olmo2", **SMALL)
    assert shape.attention_outputs[0] == "model.layers.0.post_attention_layernorm"
    assert shape.mlp_outputs[0] == "model.layers.0.post_feedforward_layernorm"
    assert shape.mlp_inputs[0] == "model.layers.0.mlp"


@pytest.mark.parametrize("family", ["glm4", "cohere", "phi"])
def test_layers_of_an_unknown_layout_say_nothing_of_the_residual(family: str) -> None:
    shape = shape_for(family, **SMALL, pad_token_id=0)
    assert (shape.attention_outputs, shape.mlp_outputs, shape.mlp_inputs) == ((), (), ())
    assert shape.modules["model.layers.0.mlp"].kind == "mlp"


def test_an_unknown_layout_is_refused_by_name() -> None:
    with pytest.raises(BaseNotFoundError, match=r"encoder\.layer\.0: no mlp module; known names: mlp"):
        shape_for("bert", num_hidden_layers=2, hidden_size=32, num_attention_heads=4, is_decoder=True)
