"""The modules an adapter acts on are those PEFT would take: planned keys equal the keys PEFT makes."""

from __future__ import annotations

from typing import Any

import peft
import pytest
import torch
from adapterhub_lora import Lora, LoraConfig
from lora_cases import FAMILIES, PEFT_SAYS, bare
from peft import get_peft_model
from peft.utils import get_peft_model_state_dict

from adapterhub import BaseShape
from adapterhub.base.shape import shape_of
from adapterhub.errors import ConfigError

pytestmark = PEFT_SAYS

LLAMA: list[dict[str, Any]] = [
    {},
    {"target_modules": "All-Linear"},
    {"target_modules": ["q_proj"]},
    {"target_modules": ["q_proj", "c_attn", "query_key_value"]},
    {"target_modules": ["self_attn.q_proj", "lm_head"]},
    {"target_modules": ["model.layers.1.mlp.up_proj"]},
    {"target_modules": r".*layers\.[02]\..*(q|v)_proj"},
    {"target_modules": r"model\.layers\.\d+\.mlp\.\w+_proj"},
    {"target_modules": ["embed_tokens", "v_proj"]},
    {"target_modules": ["q_proj"], "layers_to_transform": 1},
    {"target_modules": ["q_proj", "mlp.down_proj"], "layers_to_transform": [0, 2]},
    {"target_modules": ["q_proj", "model.layers.0.mlp.up_proj"], "layers_to_transform": [2]},
    {"target_modules": ["q_proj"], "layers_to_transform": []},
    {"target_modules": ["q_proj"], "layers_to_transform": [1], "layers_pattern": "layers"},
    {"target_modules": ["q_proj"], "layers_to_transform": [1], "layers_pattern": ["h", "layers"]},
    {"target_modules": ["q_proj", "lm_head"], "layers_to_transform": [0, 1]},
    {"exclude_modules": ["mlp.down_proj", "q_proj"]},
    {"exclude_modules": r".*layers\.1\..*"},
    {"target_modules": ["q_proj", "o_proj"], "exclude_modules": ["model.layers.0.self_attn.q_proj"]},
    {"rank_pattern": {"q_proj": 5, "mlp.*": 3}, "alpha_pattern": {"v_proj": 3}},
    {"rank_pattern": {"layers.0.self_attn.q_proj": 5, "^model.*layers.1.*q_proj": 2, "nothing": 7}},
    {"rank_pattern": {".*proj": 3, "q_proj": 5}},
    {"modules_to_save": ["lm_head"], "target_modules": ["q_proj", "lm_head"]},
    {"modules_to_save": ["embed_tokens", "lm_head"], "target_modules": ["q_proj"]},
    {"modules_to_save": ["0.self_attn.v_proj"], "target_modules": ["q_proj", "v_proj"]},
    {"modules_to_save": ["classifier"], "target_modules": ["q_proj"]},
    {"modules_to_save": ["head"], "target_modules": ["q_proj"]},
    {"use_dora": True, "target_modules": ["q_proj", "down_proj"]},
    {"lora_bias": True, "target_modules": ["q_proj"]},
    {"bias": "all", "target_modules": ["q_proj"]},
]
GPT2: list[dict[str, Any]] = [
    {},
    {"target_modules": ["c_attn"], "bias": "all"},
    {"target_modules": ["c_proj"], "bias": "lora_only"},
    {"target_modules": ["c_proj", "wte", "wpe", "lm_head"], "bias": "lora_only"},
    {"target_modules": r".*h\.1\.attn\.c_\w+", "bias": "all", "use_dora": True},
    {"target_modules": ["c_attn"], "layers_to_transform": [1], "layers_pattern": "h"},
    {"target_modules": ["c_attn"], "modules_to_save": ["c_fc"]},
    {"target_modules": ["c_attn"], "modules_to_save": ["c_fc"], "bias": "lora_only"},
    {"target_modules": ["c_fc"], "lora_bias": True, "bias": "all"},
]
GEMMA2: list[dict[str, Any]] = [
    {},
    {"target_modules": ["embed_tokens"]},
    {"target_modules": ["q_proj"], "modules_to_save": ["embed_tokens"]},
    {"target_modules": ["lm_head", "q_proj"], "exclude_modules": r".*\.1\..*"},
]
CASES = [
    (family, options)
    for family, several in (("llama", LLAMA), ("gpt2", GPT2), ("gemma2", GEMMA2))
    for options in several
]


@pytest.fixture(scope="module")
def shapes() -> dict[str, BaseShape]:
    return {family: shape_of(bare(family)) for family in FAMILIES}


@pytest.mark.parametrize(("family", "options"), CASES, ids=lambda value: str(value).replace("'", ""))
def test_planned_tensors_are_those_peft_makes(
    family: str, options: dict[str, Any], shapes: dict[str, BaseShape]
) -> None:
    config = LoraConfig.load({"r": 4, **options}, where="test")
    adapted = get_peft_model(bare(family), peft.LoraConfig(task_type="CAUSAL_LM", **config.to_peft()))
    made = get_peft_model_state_dict(adapted, save_embedding_layers=False)
    planned = Lora().plan(config, shapes[family]).shapes()
    assert planned == {key: tuple(tensor.shape) for key, tensor in made.items()}
    for site in Lora().sites(config, shapes[family]):
        base: Any = adapted.base_model.model
        layer = base.get_submodule(site.module)
        if hasattr(layer, "scaling"):
            assert config.scaling(site.module) == layer.scaling["default"]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"target_modules": ["query", "key"]}, "'query', 'key' matches no linear module or embedding of LlamaFor.*: "
         "down_proj, embed_tokens, gate_proj, k_proj, lm_head"),
        ({"target_modules": "q_proj"}, "target_modules: 'q_proj' matches no linear module"),
        ({"target_modules": ["norm"]}, r"target_modules: model\.norm of Llama\w+ is of kind norm \(accepted: linear"),
        ({"target_modules": ["self_attn"]}, "is of kind attention"),
        ({"target_modules": ["q_proj"], "exclude_modules": ["q_proj"]}, "matches no .* that is not excluded"),
        ({"target_modules": ["q_proj"], "layers_to_transform": [7]}, "'q_proj' matches no linear module"),
        ({"modules_to_save": ["norm"]}, r"modules_to_save: .*norm is of kind norm \(accepted: linear, conv1d, emb"),
        ({"target_modules": ["embed_tokens"], "use_dora": True}, "use_dora: not served on embeddings such as model"),
    ],
)  # fmt: skip
def test_a_selection_that_cannot_be_is_named(
    options: dict[str, Any], message: str, shapes: dict[str, BaseShape]
) -> None:
    with pytest.raises(ConfigError, match=message):
        Lora().plan(LoraConfig.load(options, where="test"), shapes["llama"])


def test_one_weight_counts_once(shapes: dict[str, BaseShape]) -> None:
    config = LoraConfig.load({"target_modules": ["embed_tokens"], "r": 4}, where="test")
    plan = Lora().plan(config, shapes["llama"])
    vocab, hidden = shapes["llama"].vocab_size, shapes["llama"].hidden_size
    assert plan.num_parameters == plan.num_trainable == 4 * (vocab + hidden)
    assert list(plan.optional_shapes().values()) == [torch.Size((vocab, hidden))]
