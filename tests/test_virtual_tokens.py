"""Methods that hold positions in front of the prompt: prefix tuning, prompt tuning and p-tuning."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from conftest import save_random_adapter
from peft import PeftModel
from training import assert_trains, train_briefly
from transformers import AutoModelForCausalLM

from adapterhub import BaseShape, Method, MethodConfig, ModuleShape, Param, Params, Site
from adapterhub.adapter import CONFIG_FILE, TENSORS_FILE, Adapter, read_folder
from adapterhub.base import BaseModel
from adapterhub.engine import Engine
from adapterhub.errors import ConfigError, DataError, InvalidInputError, PluginError
from adapterhub.plugins import Methods, installed_methods
from adapterhub.testing.equality import greedy, recording_engine, run, teacher_forced
from adapterhub.testing.tiny_base import save_tiny_llama

RUNS: dict[str, tuple[str, dict[str, Any], float]] = {
    "prefix": ("prefix_tuning", {"num_virtual_tokens": 4, "init_weights": "zero"}, 3e-1),
    "projected": (
        "prefix_tuning",
        {"num_virtual_tokens": 4, "prefix_projection": True, "encoder_hidden_size": 8},
        3e-2,
    ),
    "prompt": ("prompt_tuning", {"num_virtual_tokens": 4}, 1e-1),
    "text": ("prompt_tuning", {"prompt_tuning_init": "TEXT", "prompt_tuning_init_text": "red or blue"}, 1e-1),
    "mlp": ("p_tuning", {"num_virtual_tokens": 4}, 1e-2),
    "lstm": (
        "p_tuning",
        {"num_virtual_tokens": 4, "encoder_reparameterization_type": "LSTM", "encoder_hidden_size": 16},
        1e-2,
    ),
}
"""Method, options and learning rate of a short run of each."""


@pytest.fixture(scope="module")
def base(tiny_base: Path) -> BaseModel:
    return BaseModel.load(str(tiny_base), quantization="none")


@pytest.fixture(scope="module", params=["none", "nf4"])
def trainable(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> BaseModel:
    """A tiny base whose widths are multiples of nf4's block of 64."""
    folder = save_tiny_llama(tmp_path_factory.mktemp("tiny-64"), hidden=64)
    return BaseModel.load(str(folder), quantization=request.param, device="cpu")


def adapter(folder: Path, method: str, base: BaseModel, **options: Any) -> Adapter:
    saved = save_random_adapter(folder, method, base.shape, scale=1.0, **options)
    return replace(read_folder(saved), digest=f"sha256:{method}")


@pytest.fixture
def prefixed(base: BaseModel, tmp_path: Path) -> Adapter:
    return adapter(tmp_path / "prefixed", "prefix_tuning", base, num_virtual_tokens=21)


@pytest.mark.parametrize("count", [1, 16, 21])
@pytest.mark.parametrize("method", ["prefix_tuning", "prompt_tuning", "p_tuning"])
def test_any_number_of_virtual_tokens_is_exact(
    base: BaseModel, tiny_base: Path, tmp_path: Path, method: str, count: int
) -> None:
    made = adapter(tmp_path, method, base, num_virtual_tokens=count)
    requests = [greedy(range(9, 10 + 7 * index), made.digest, 20) for index in range(3)]
    with recording_engine(base, {method: made}, step_tokens=13) as (engine, recorder):
        rows = run(engine, recorder, requests)
    reference = PeftModel.from_pretrained(AutoModelForCausalLM.from_pretrained(tiny_base), tmp_path).eval()
    for request, row in zip(requests, rows, strict=True):
        expected = teacher_forced(reference, request, row)
        torch.testing.assert_close(row.logits, expected, atol=1e-4, rtol=0)
        assert expected.argmax(dim=-1).tolist() == list(row.tokens)


def test_virtual_tokens_count_in_the_context(base: BaseModel, prefixed: Adapter) -> None:
    with Engine(base, kv_tokens=64) as engine:
        engine.load_adapter(prefixed)
        assert engine.generate([greedy([5] * 3, prefixed.digest, 40)])[0].finish_reason == "length"
        with pytest.raises(
            InvalidInputError, match=r"4 prompt \+ 40 new \+ 21 virtual tokens are 65, over all KV blocks"
        ):
            engine.generate([greedy([5] * 4, prefixed.digest, 40)])
        engine.check_integrity()


def test_requests_share_no_place_of_a_partly_filled_block(base: BaseModel, prefixed: Adapter) -> None:
    """21 positions end inside a block of 16: each sequence writes its tokens behind its own copy."""
    requests = [greedy([7 + index] * (1 + index), prefixed.digest, 8) for index in range(6)]
    with recording_engine(base, {"": prefixed}, step_tokens=13) as (engine, recorder):
        alone = [run(engine, recorder, [request])[0] for request in requests]
        for row, expected in zip(run(engine, recorder, requests), alone, strict=True):
            torch.testing.assert_close(row.logits, expected.logits, atol=1e-4, rtol=0)


def test_a_prefixs_bytes_are_its_own(base: BaseModel, prefixed: Adapter) -> None:
    with Engine(base, kv_tokens=64) as engine:
        engine.load_adapter(prefixed)
        assert engine.adapters()[0].nbytes == sum(header.nbytes for header in prefixed.tensors.values())


@pytest.mark.parametrize("run_name", RUNS)
def test_training_through_peft(trainable: BaseModel, tmp_path: Path, run_name: str) -> None:
    method, options, rate = RUNS[run_name]
    result = assert_trains(trainable, method, tmp_path / "run" / "out", rate=rate, options=options)
    assert None not in result.adapter.config.values(), "a release of PEFT without the option would refuse the file"


def test_dropout_of_the_encoder_is_not_in_what_is_saved(trainable: BaseModel, tmp_path: Path) -> None:
    options = {
        "num_virtual_tokens": 4,
        "encoder_reparameterization_type": "LSTM",
        "encoder_dropout": 0.5,
    }
    runs: dict[str, dict[str, Any]] = {"validated": {}, "blind": {"validation": None, "validation_share": 0}}
    saved = [
        train_briefly(trainable, "p_tuning", tmp_path / name / "out", rate=1e-2, options=options, epochs=1, **settings)
        for name, settings in runs.items()
    ]
    first, second = (result.adapter.files[TENSORS_FILE].read_bytes() for result in saved)
    assert first == second


def test_a_text_is_where_the_embeddings_start(trainable: BaseModel, tmp_path: Path) -> None:
    options = {"num_virtual_tokens": 7, "prompt_tuning_init": "TEXT", "prompt_tuning_init_text": "abc"}
    result = train_briefly(trainable, "prompt_tuning", tmp_path / "a" / "out", rate=1e-9, options=options, max_steps=1)
    ids = (trainable.tokenizer("abc")["input_ids"] * 3)[:7]
    wanted = trainable.weights.weight("model.embed_tokens")[ids]
    torch.testing.assert_close(result.adapter.read_tensors()["prompt_embeddings"], wanted, atol=1e-6, rtol=0)
    assert result.adapter.config["tokenizer_name_or_path"] == trainable.record.id
    assert str(tmp_path) not in (result.folder / CONFIG_FILE).read_text()


def test_virtual_tokens_count_in_the_context_when_training(trainable: BaseModel, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"colors\.jsonl:1: 6 tokens, over the 5 positions left in the context"):
        train_briefly(trainable, "p_tuning", tmp_path / "a" / "out", rate=1e-2, options={"num_virtual_tokens": 507})


@pytest.mark.parametrize(
    ("method", "options", "message"),
    [
        ("prefix_tuning", {"num_virtual_token": 3}, "unknown option 'num_virtual_token'; did you mean 'num_virtual_t"),
        ("prefix_tuning", {"num_virtual_tokens": 0}, "num_virtual_tokens: Input should be greater than or equal to 1"),
        ("prefix_tuning", {"encoder_hidden_size": 8}, "encoder_hidden_size: without effect; needs prefix_projection"),
        ("prefix_tuning", {"init_weights": "one"}, "init_weights: Input should be 'zero'"),
        ("prompt_tuning", {"prompt_tuning_init": "TEXT"}, "prompt_tuning_init_text: prompt_tuning_init=TEXT needs a"),
        ("prompt_tuning", {"prompt_tuning_init_text": "a"}, "prompt_tuning_init_text: without effect; needs prompt_t"),
        ("p_tuning", {"encoder_num_layers": 3}, "encoder_num_layers: the MLP has 2; others need encoder_reparameter"),
        ("p_tuning", {"encoder_dropout": 0.1}, "encoder_dropout: without effect; needs encoder_reparameterization"),
        ("p_tuning", {"encoder_reparameterization_type": "GRU"}, "encoder_reparameterization_type: Input should be 'M"),
    ],
)
def test_a_wrong_option_is_named_with_what_is_accepted(method: str, options: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        installed_methods().get(method).Config.load(options, where=f"method {method}")


def test_layers_with_other_key_sizes_are_refused_by_name(base: BaseModel) -> None:
    wide = {**base.shape.modules, "model.layers.1.self_attn.k_proj": ModuleShape("linear", 32, 64)}
    method = installed_methods().get("prefix_tuning")
    with pytest.raises(
        ConfigError, match=r"prefix_tuning: model\.layers\.1\.self_attn\.k_proj of .* gives 64 features"
    ):
        method.plan(method.Config(), replace(base.shape, modules=wide))


class Empty(MethodConfig):
    """No options."""


class Crooked(Method[Empty]):
    """A plugin whose keys and values do not fit the cache."""

    name, peft_type, Config = "crooked", "CROOKED", Empty

    def sites(self, config: Empty, shape: BaseShape) -> list[Site]:
        return [Site("kv", {"rows": Param((2, 3))}, virtual_tokens=2)]

    def kv(self, config: Empty, p: Params, shape: BaseShape) -> torch.Tensor:
        return p["rows"]

    def key(self, site: Site, param: str) -> str:
        return param


@pytest.fixture
def crooked(monkeypatch: pytest.MonkeyPatch) -> Methods:
    found = installed_methods()
    methods = Methods({**found.by_name, "crooked": Crooked()}, found.plugins)
    monkeypatch.setattr("conftest.installed_methods", lambda: methods)
    return methods


def test_keys_and_values_of_a_wrong_shape_are_refused_at_load(
    base: BaseModel, crooked: Methods, tmp_path: Path
) -> None:
    made = adapter(tmp_path, "crooked", base)
    with (
        Engine(base, methods=crooked, kv_tokens=64) as engine,
        pytest.raises(PluginError, match=r"method 'crooked': kv gave \(2, 3\); need \(3, 2, 2, 2, 8\)"),
    ):
        engine.load_adapter(made)
