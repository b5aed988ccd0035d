"""VeRA: projections kept once for all modules, trained by PEFT and served as PEFT computes it."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from conftest import save_random_adapter
from peft import PeftModel
from training import assert_trains
from transformers import AutoModelForCausalLM

from adapterhub.adapter import Adapter, read_folder
from adapterhub.base import BaseModel
from adapterhub.engine import Engine
from adapterhub.errors import ConfigError, UnsupportedAdapterError
from adapterhub.plugins import installed_methods
from adapterhub.testing.equality import assert_equal, greedy, recording_engine, run, teacher_forced
from adapterhub.testing.tiny_base import save_tiny_llama

VERA = installed_methods().get("vera")

# PEFT's word on projections that are not in the file.
pytestmark = pytest.mark.filterwarnings("ignore:Specified to not (save|load) vera_A and vera_B")


@pytest.fixture(scope="module")
def base(tiny_base: Path) -> BaseModel:
    return BaseModel.load(str(tiny_base), quantization="none")


@pytest.fixture(scope="module", params=["int8", "nf4"])
def quantized(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> BaseModel:
    folder = save_tiny_llama(tmp_path_factory.mktemp("tiny-64"), hidden=64)
    return BaseModel.load(str(folder), quantization=request.param, device="cpu")


def made(folder: Path, base: BaseModel, name: str, **options: Any) -> Adapter:
    saved = save_random_adapter(folder, "vera", base.shape, seed=len(name), scale=0.5, **options)
    return replace(read_folder(saved), digest=f"sha256:{name}")


def test_projections_that_are_not_in_the_file_are_made_from_their_seed_as_peft_makes_them(
    base: BaseModel, tiny_base: Path, tmp_path: Path
) -> None:
    adapter = made(tmp_path, base, "seed", r=6, save_projection=False, projection_prng_key=7)
    assert not any("vera_A" in key for key in adapter.tensors)
    request = greedy(range(9, 40), adapter.digest, 12)
    with recording_engine(base, {"": adapter}) as (engine, recorder):
        (row,) = run(engine, recorder, [request])
    reference = PeftModel.from_pretrained(AutoModelForCausalLM.from_pretrained(tiny_base), tmp_path).eval()
    torch.testing.assert_close(row.logits, teacher_forced(reference, request, row), atol=1e-4, rtol=0)


def test_a_row_on_a_quantized_base_is_what_it_is_alone(quantized: BaseModel, tmp_path: Path) -> None:
    adapters = {
        name: made(tmp_path / name, quantized, name, r=6, target_modules=targets)
        for name, targets in {"all": "all-linear", "one": ["down_proj"]}.items()
    }
    digests = [adapter.digest for adapter in adapters.values()]
    requests = [greedy(range(5, 20 + 7 * n), digest, 8) for n, digest in enumerate([*digests, "", *digests])]
    with recording_engine(quantized, adapters) as (engine, recorder):
        alone = [run(engine, recorder, [request])[0] for request in requests]
    with recording_engine(quantized, adapters, step_tokens=33) as (engine, recorder):
        tolerance = 0.0 if quantized.quantization == "int8" else 1e-4
        assert_equal(engine, recorder, requests, alone, tolerance=tolerance)
    assert min(float((alone[n].logits[0] - alone[2].logits[0]).abs().max()) for n in (0, 1)) > 0.05


@pytest.mark.parametrize("save_projection", [True, False])
def test_the_projections_are_held_once(base: BaseModel, tmp_path: Path, save_projection: bool) -> None:
    adapter = made(tmp_path, base, "held", r=6, save_projection=save_projection)
    plan = VERA.plan(VERA.Config(r=6), base.shape)
    with Engine(base, kv_tokens=256) as engine:
        engine.load_adapter(adapter)
        assert engine.adapters()[0].nbytes == 4 * plan.num_parameters
    assert plan.num_parameters - plan.num_trainable == 6 * (64 + 64)


@pytest.mark.parametrize("options", [{"r": 8}, {"r": 32, "save_projection": False, "target_modules": ["v_proj"]}])
def test_training_through_peft(base: BaseModel, tmp_path: Path, options: dict[str, Any]) -> None:
    assert_trains(base, "vera", tmp_path / "run" / "out", rate=1e-1, options=options)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"r": 0}, "r: .*greater than or equal to 1"),
        ({"target_modules": "(k_proj"}, "target_modules: not a regular expression"),
        ({"layers_pattern": "layers"}, "layers_pattern needs layers_to_transform"),
        ({"layers_to_transform": [0]}, "layers_to_transform needs target_modules as a list"),
    ],
)
def test_a_wrong_option_is_named(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        VERA.Config.load(options, where="method vera")


@pytest.mark.parametrize(("option", "value"), [("bias", "all"), ("modules_to_save", ["lm_head"])])
def test_what_is_not_served_is_refused_by_name(option: str, value: object) -> None:
    with pytest.raises(UnsupportedAdapterError, match=option):
        VERA.Config.from_peft({"target_modules": ["q_proj"], option: value}, where="adapter a")
