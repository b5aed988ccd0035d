"""What an adapter costs is known before it exists: sizes are exact, and no weight is read for them."""

from __future__ import annotations

from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import bitsandbytes
import pytest
import torch
from conftest import save_random_adapter
from lora_cases import FAMILIES, PEFT_SAYS, save_bare
from torch import nn
from training import train_briefly

from adapterhub.adapter import read_folder
from adapterhub.base import BaseModel, EmptyBase, Quantization
from adapterhub.engine.resident_adapter import prepare
from adapterhub.errors import AdapterHubError, BaseNotFoundError, ConfigError, MethodNotFoundError
from adapterhub.estimate import Estimate, EstimateConfig, estimate
from adapterhub.estimate.optimizer import adamw_8bit_bytes, adamw_bytes
from adapterhub.plugins import installed_methods
from adapterhub.train import TrainConfig
from adapterhub.train.attach import attached
from adapterhub.train.config import DEFAULT_METHOD
from adapterhub.train.job import TrainJob

pytestmark = PEFT_SAYS

QUANTIZATIONS: list[Quantization] = ["none", "int8", "nf4"]
CASES: list[tuple[str, str, dict[str, Any]]] = [
    ("llama", "lora", {}),
    ("llama", "lora", {"r": 3, "use_rslora": True, "target_modules": ["q_proj", "down_proj", "lm_head"]}),
    ("llama", "lora", {"use_dora": True, "rank_pattern": {"q_proj": 2}}),
    ("llama", "lora", {"lora_bias": True, "layers_to_transform": [1], "target_modules": ["v_proj"]}),
    ("llama", "lora", {"target_modules": ["q_proj"], "modules_to_save": ["lm_head"]}),
    ("tied", "lora", {"target_modules": ["embed_tokens", "q_proj"]}),
    ("gemma2", "lora", {"target_modules": ["embed_tokens", "o_proj"]}),
    ("gpt2", "lora", {"target_modules": ["c_attn"], "bias": "all"}),
    ("gpt2", "lora", {"target_modules": ["c_attn", "wpe"], "bias": "lora_only"}),
    ("gpt2", "lora", {"use_dora": True}),
    ("llama", "ia3", {}),
    ("llama", "bottleneck", {"placement": "houlsby", "reduction_factor": 4}),
    ("llama", "bottleneck", {"placement": "parallel", "reduction_factor": 2}),
    ("gemma2", "bottleneck", {"leave_out": [0]}),
    ("llama", "vera", {"r": 8}),
    ("tied", "trainable_tokens", {"token_indices": [3, 9, 40]}),
    ("gpt2", "ln_tuning", {}),
    ("llama", "ln_tuning", {}),
    ("llama", "loha", {"r": 4}),
    ("llama", "lokr", {"r": 4}),
    ("llama", "oft", {"oft_block_size": 8}),
    ("llama", "adalora", {"init_r": 4, "target_r": 2}),
    ("llama", "gralora", {"r": 4}),
    ("llama", "hira", {"r": 4}),
    ("llama", "prompt_tuning", {"num_virtual_tokens": 5}),
    ("tied", "p_tuning", {"num_virtual_tokens": 7, "encoder_hidden_size": 24}),
    ("llama", "prefix_tuning", {"num_virtual_tokens": 9}),
    ("gpt2", "prefix_tuning", {"prefix_projection": True, "encoder_hidden_size": 24}),
]
"""Family, method and options: every built-in method, and what changes sizes."""


class Bases:
    """A base of each family, as weights and as the config and tokenizer alone."""

    def __init__(self, folder: Path) -> None:
        self.whole = {family: save_bare(family, folder / "whole" / family) for family in FAMILIES}
        self.load = cache(self._load)

    def _load(self, family: str, quantization: Quantization) -> BaseModel:
        return BaseModel.load(str(self.whole[family]), quantization=quantization, device="cpu")

    def without_weights(self, family: str, folder: Path) -> Path:
        for file in self.whole[family].iterdir():
            if "safetensors" not in file.name:
                (folder / file.name).write_bytes(file.read_bytes())
        return folder


@pytest.fixture(scope="module")
def bases(tmp_path_factory: pytest.TempPathFactory) -> Bases:
    return Bases(tmp_path_factory.mktemp("bases"))


def estimated(base: Path, method: str, options: dict[str, Any], **settings: Any) -> Estimate:
    values = {"base": str(base), "method": method, "options": options, **settings}
    return estimate(EstimateConfig.load(values, where="test"), device="cpu")


def test_its_settings_are_those_of_training() -> None:
    assert EstimateConfig.model_fields["method"].default == DEFAULT_METHOD
    for name in EstimateConfig.model_fields.keys() - {"method"}:  # no adapter to go on with, nor all of a base
        assert repr(EstimateConfig.model_fields[name]) == repr(TrainConfig.model_fields[name]), name


def job(base: BaseModel, method: str, options: dict[str, Any], folder: Path) -> TrainJob:
    """A run on two lines of data."""
    data = folder / "lines.jsonl"
    data.write_text('{"prompt": "a", "completion": "b"}\n' * 2)
    values = {"base": base.record.id, "data": data, "validation": data, "method": method, "options": options}
    return TrainJob.prepare(TrainConfig.load(values | {"prompt_format": "raw"}, where="test"), base)


@pytest.mark.parametrize("quantization", ["none", "nf4"])
@pytest.mark.parametrize("family", FAMILIES)
def test_the_bases_bytes_are_those_of_the_loaded_one(family: str, quantization: Quantization, bases: Bases) -> None:
    base = bases.load(family, quantization)
    empty = EmptyBase.read(str(bases.whole[family]), quantization=quantization, device="cpu")
    assert empty.weight_bytes == base.weight_bytes
    assert (empty.shape, empty.compute_dtype, empty.row_dtype) == (base.shape, base.compute_dtype, base.row_dtype)
    if quantization == "none":
        assert empty.num_parameters == base.model.num_parameters()


@pytest.mark.parametrize(("family", "method", "options"), CASES, ids=lambda value: str(value).replace("'", ""))
def test_sizes_are_those_of_the_real_adapter(
    family: str, method: str, options: dict[str, Any], bases: Bases, tmp_path: Path
) -> None:
    """Of what PEFT trains, of the file, and of the adapter in the engine on every kind of base."""
    (tmp_path / "empty").mkdir()
    found = estimated(bases.without_weights(family, tmp_path / "empty"), method, options)
    base = bases.load(family, "none")
    with attached(job(base, method, options, tmp_path)) as model:
        assert found.trainable_parameters == model.get_nb_trainable_parameters()[0]
    folder = save_random_adapter(tmp_path / "adapter", method, base.shape, **options)
    adapter = replace(read_folder(folder), digest="sha256:real")
    assert (found.adapter_parameters, found.adapter_bytes) == (adapter.num_parameters, adapter.nbytes)
    assert found.resident.keys() == installed_methods().get(method).served_on
    for quantization in found.resident:
        served = bases.load(family, quantization)
        resident = prepare(adapter, adapter.read_tensors(), installed_methods(), served)
        assert found.resident[quantization].bytes == resident.nbytes, quantization
        assert found.resident[quantization].per_gib == 2**30 // resident.nbytes


@pytest.mark.parametrize(
    ("method", "options"),
    [
        ("lora", {"use_dora": True}),
        ("lora", {"init_lora_weights": "pissa", "r": 4}),
        ("lora", {"init_lora_weights": "olora", "r": 4, "rank_pattern": {"q_proj": 2}}),
        ("p_tuning", {}),
        ("bottleneck", {}),
    ],
    ids=str,
)
def test_the_file_is_as_large_as_it_was_said(
    method: str, options: dict[str, Any], bases: Bases, tmp_path: Path
) -> None:
    result = train_briefly(
        bases.load("llama", "none"), method, tmp_path / "out", rate=1e-3, options=options, max_steps=1
    )
    found = estimated(bases.whole["llama"], method, options)
    assert (found.adapter_parameters, found.adapter_bytes) == (result.adapter.num_parameters, result.adapter.nbytes)


def test_full_fine_tuning_the_method_and_its_preset_stand_side_by_side(bases: Bases) -> None:
    found = estimated(bases.whole["llama"], "qlora", {"r": 4}, batch_size=2, max_length=64)
    assert [(way.name, way.quantization) for way in found.training] == [
        ("full", "none"),
        ("lora", "none"),
        ("qlora", "nf4"),
    ]
    full, lora, qlora = found.training
    assert full.trainable_parameters == found.base_parameters
    assert lora.trainable_parameters == qlora.trainable_parameters == found.trainable_parameters
    for way in found.training:
        assert way.gradient_bytes == 4 * way.trainable_parameters
        assert way.optimizer_bytes == 8 * way.trainable_parameters
        assert way.checkpointed_peak_bytes < way.peak_bytes
    assert lora.peak_bytes - qlora.peak_bytes == lora.weight_bytes - qlora.weight_bytes > 0


def test_a_way_that_training_refuses_is_left_out(bases: Bases) -> None:
    found = estimated(bases.whole["llama"], "lora", {"init_lora_weights": "pissa"})
    assert [way.name for way in found.training] == ["full", "lora"]


def test_more_examples_and_longer_ones_need_more(bases: Bases) -> None:
    small, wide, long = (
        estimated(bases.whole["llama"], "lora", {}, batch_size=batch, max_length=length).training[1].activation_bytes
        for batch, length in ((2, 32), (4, 32), (2, 64))
    )
    assert wide == 2 * small
    assert long > wide  # attention's mask grows with the square


def test_examples_are_no_longer_than_the_context_that_virtual_tokens_leave(bases: Bases) -> None:
    longest, longer = (
        estimated(bases.whole["llama"], "prompt_tuning", {"num_virtual_tokens": 6}, max_length=length).training[1]
        for length in (250, 512)
    )
    assert longest == longer


def test_layers_in_front_of_the_first_site_keep_nothing(bases: Bases) -> None:
    first, last, head = (
        estimated(bases.whole["llama"], "lora", options).training[1].activation_bytes
        for options in (
            {"target_modules": ["q_proj"], "layers_to_transform": [0]},
            {"target_modules": ["q_proj"], "layers_to_transform": [2]},
            {"target_modules": ["lm_head"]},
        )
    )
    assert first > 2.5 * last > 2.5 * head


@pytest.mark.parametrize(
    ("error", "settings", "message"),
    [
        (MethodNotFoundError, {"method": "lola"}, "unknown method 'lola'; did you mean 'lora'"),
        (ConfigError, {"options": {"rank": 8}}, "method lora: unknown option 'rank'"),
        (ConfigError, {"options": {"target_modules": ["x_proj"]}}, "target_modules: 'x_proj' matches no linear module"),
        (ConfigError, {"method": "qlora", "options": {"init_lora_weights": "pissa"}}, "init_lora_weights"),
        (BaseNotFoundError, {"base": "no such base"}, "no base model 'no such base'"),
    ],
)
def test_mistakes_are_those_of_training(
    error: type[AdapterHubError], settings: dict[str, Any], message: str, bases: Bases
) -> None:
    with pytest.raises(error, match=message):
        estimate(EstimateConfig.load({"base": str(bases.whole["llama"]), **settings}, where="test"), device="cpu")


def test_a_text_to_start_from_needs_the_bases_tokenizer(bases: Bases, tmp_path: Path) -> None:
    (tmp_path / "config.json").write_bytes((bases.whole["llama"] / "config.json").read_bytes())
    assert estimated(tmp_path, "prompt_tuning", {}).trainable_parameters == 16 * 64
    text = {"prompt_tuning_init": "TEXT", "prompt_tuning_init_text": "hello"}
    assert estimated(bases.whole["llama"], "prompt_tuning", text).trainable_parameters == 16 * 64
    with pytest.raises(BaseNotFoundError, match="no usable tokenizer"):
        estimated(tmp_path, "prompt_tuning", text)


def test_the_optimizers_states_are_counted_as_they_are() -> None:
    parameters = [nn.Parameter(torch.zeros(size)) for size in (100, 4095, 4096, 10_000)]
    sizes = [parameter.numel() for parameter in parameters]
    eight_bit = bitsandbytes.optim.AdamW8bit(parameters)  # type: ignore[attr-defined, no-untyped-call]
    for optimizer, counted in (
        (torch.optim.AdamW(parameters), adamw_bytes(sizes)),
        (eight_bit, adamw_8bit_bytes(sizes)),
    ):
        for parameter in parameters:
            parameter.grad = torch.ones_like(parameter)
        optimizer.step()
        states = [state for of_one in optimizer.state.values() for state in of_one.values()]
        tensors = {state.data_ptr(): state.nbytes for state in states if torch.is_tensor(state) and state.ndim}
        assert sum(tensors.values()) == counted
