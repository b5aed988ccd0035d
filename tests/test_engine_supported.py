"""A base that the engine cannot serve exactly is refused when the engine is made, with the reason."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from test_families import SIZES
from transformers import AutoConfig, AutoModelForCausalLM, PreTrainedConfig

from adapterhub.base import BaseModel
from adapterhub.engine import Engine
from adapterhub.engine.attention import paged_attention
from adapterhub.engine.attention_probe import probe
from adapterhub.errors import BaseNotFoundError, UnsupportedBaseError
from adapterhub.testing import save_tokenizer

LONG = {"rope_theta": 1e4, "original_max_position_embeddings": 64}
HALVES = {"short_factor": [1.0] * 4, "long_factor": [2.0] * 4}
REFUSED: dict[str, tuple[str, dict[str, Any], str]] = {
    "linear attention": (
        "minimax",
        {"layer_types": ["linear_attention", "full_attention", "linear_attention"], "num_local_experts": 2},
        "layers of linear_attention",
    ),
    "attention beside mamba": (
        "falcon_h1",
        {"mamba_d_ssm": 32, "mamba_n_heads": 4, "mamba_d_head": 8, "mamba_d_state": 8},
        "layers of hybrid",
    ),
    "chunked attention": ("llama4_text", {"num_local_experts": 2, "pad_token_id": 1}, "layers of chunked_attention"),
    "cross attention": ("gpt2", {"add_cross_attention": True}, "has cross attention"),
    "ALiBi": ("falcon", {"alibi": True}, "position bias in its mask"),
    "own attention": ("gptj", {"rotary_dim": 4}, "takes no attention function"),
    "later positions": ("gemma3_text", {"use_bidirectional_attention": True}, "attends to later positions"),
    "dynamic RoPE": (
        "llama",
        {"rope_parameters": {"rope_type": "dynamic", "factor": 2.0, **LONG}},
        "longest row of a batch .rope_type dynamic",
    ),
    "longrope": (
        "phi3",
        {"rope_parameters": {"rope_type": "longrope", **LONG, **HALVES}},
        "longest row of a batch .rope_type longrope",
    ),
    "head sizes": ("minicpm3", {"qk_rope_head_dim": 8, "kv_lora_rank": 16}, r"has keys of 4 x \d+ in layer 0"),
    "two attentions a layer": ("diffllama", {}, "calls the attention function 2 times in layer 0"),
    "a mask of its own": ("doge", {}, "attention with a mask of its own is not served"),
    "a window it does not tell": ("phimoe", {"sliding_window": 7, "num_local_experts": 2}, "does not tell"),
}
REFUSED_BY_SHAPE = {
    "recurrent state": ("mamba", "no max_position_embeddings .recurrent state"),
    "ALiBi without positions": ("bloom", "no max_position_embeddings .* or ALiBi"),
    "convolution": ("lfm3", "no attention module; known names"),
    "linear attention": ("qwen3_next", "no attention module; known names"),
}


def tiny_config(family: str, **options: Any) -> PreTrainedConfig:
    """A family's config with as many of the tiny sizes as it knows."""
    known = AutoConfig.for_model(family)
    sizes = {name: size for name, size in SIZES.items() if hasattr(known, name) and name != "head_dim"}
    config: PreTrainedConfig = AutoConfig.for_model(family, **{**sizes, **options})
    return config


def load(config: PreTrainedConfig, folder: Path) -> BaseModel:
    torch.manual_seed(0)
    AutoModelForCausalLM.from_config(config).save_pretrained(folder)  # type: ignore[no-untyped-call]
    save_tokenizer(folder)
    return BaseModel.load(str(folder), quantization="none")


@pytest.mark.parametrize("reason", REFUSED)
def test_what_cannot_be_served_exactly_is_refused_with_the_reason(reason: str, tmp_path: Path) -> None:
    family, options, message = REFUSED[reason]
    base = load(tiny_config(family, **options), tmp_path)
    own = base.model.config._attn_implementation
    with pytest.raises(UnsupportedBaseError, match=f"base {tmp_path.name} .*{message}.*; served: decoders"):
        Engine(base)
    assert base.model.config._attn_implementation == own


@pytest.mark.parametrize("reason", REFUSED_BY_SHAPE)
def test_what_is_no_decoder_of_keys_and_values_is_not_even_loaded(reason: str, tmp_path: Path) -> None:
    family, message = REFUSED_BY_SHAPE[reason]
    tiny_config(family).save_pretrained(tmp_path)
    with pytest.raises(BaseNotFoundError, match=message):
        BaseModel.load(str(tmp_path))


def test_keys_shared_between_layers_are_refused(tmp_path: Path) -> None:
    kinds = ["sliding_attention", "full_attention"] * 2
    options = {"num_hidden_layers": 4, "layer_types": kinds, "num_kv_shared_layers": 2, "intermediate_size": 64}
    sizes = {"vocab_size_per_layer_input": 258, "hidden_size_per_layer_input": 8, "laurel_rank": 4, "head_dim": 8}
    config = tiny_config("gemma3n_text", **options, **sizes, activation_sparsity_pattern=[0.0] * 4)
    with pytest.raises(UnsupportedBaseError, match=r"shares keys and values .*num_kv_shared_layers 2"):
        Engine(load(config, tmp_path))


def test_a_base_that_ignores_positions_is_refused(tiny_base: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    base = BaseModel.load(str(tiny_base), quantization="none")
    decoder: Any = base.model
    forward = decoder.model.rotary_emb.forward
    monkeypatch.setattr(decoder.model.rotary_emb, "forward", lambda x, position_ids: forward(x, position_ids * 0))
    with pytest.raises(UnsupportedBaseError, match="does not follow the positions"):
        Engine(base)


@pytest.mark.parametrize("scaling", ["linear", "llama3", "yarn"])
def test_rope_of_each_row_alone_is_served(scaling: str, tmp_path: Path) -> None:
    parameters = {"rope_type": scaling, "factor": 4.0, **LONG}
    if scaling == "llama3":
        parameters |= {"low_freq_factor": 1.0, "high_freq_factor": 4.0}
    if scaling == "linear":
        del parameters["original_max_position_embeddings"]
    Engine(load(tiny_config("llama", rope_parameters=parameters), tmp_path))


def test_the_probe_sees_every_layer_and_its_window(tmp_path: Path) -> None:
    kinds = ["sliding_attention", "full_attention", "sliding_attention"]
    base = load(tiny_config("gemma2", sliding_window=7, layer_types=kinds, head_dim=8), tmp_path)
    assert [(call.layer, call.window) for call in probe(base.model)] == [(0, 7), (1, None), (2, 7)]


@pytest.mark.parametrize(
    ("keyword", "value"), [("position_bias", torch.zeros(1)), ("head_mask", [1.0]), ("chunk_size", 0)]
)
def test_paged_attention_refuses_keywords_it_would_ignore(keyword: str, value: object) -> None:
    rows: Any = torch.zeros(1, 1, 1, 4)
    module, maps = torch.nn.Identity(), object()
    with pytest.raises(UnsupportedBaseError, match=f"attention with {keyword} is not served"):
        paged_attention(module, rows, rows, rows, None, attention_map=maps, **{keyword: value})  # type: ignore[arg-type]
    with pytest.raises(UnsupportedBaseError, match="a mask of its own"):
        paged_attention(module, rows, rows, rows, rows, attention_map=maps)  # type: ignore[arg-type]
