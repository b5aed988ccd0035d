"""(IA)3: which modules it scales and on which side, trained by PEFT and served as PEFT computes it."""

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

from adapterhub.adapter import read_folder
from adapterhub.base import BaseModel
from adapterhub.errors import ConfigError, UnsupportedAdapterError
from adapterhub.plugins import installed_methods
from adapterhub.testing.equality import greedy, recording_engine, run, teacher_forced
from adapterhub.testing.tiny_base import save_tiny_llama

IA3 = installed_methods().get("ia3")
TARGETS: dict[str, dict[str, Any]] = {
    "default": {},
    "no feed-forward module": {"target_modules": ["q_proj", "down_proj"], "feedforward_modules": []},
    "only feed-forward modules": {"target_modules": ["up_proj"], "feedforward_modules": ["up_proj"]},
    "one layer": {"target_modules": r"model\.layers\.1\..*(o|gate)_proj", "feedforward_modules": r".*o_proj"},
    "all-linear": {"target_modules": "all-linear", "feedforward_modules": ["down_proj"]},
    "the head": {"target_modules": ["lm_head", "v_proj"], "feedforward_modules": ["lm_head"]},
}


@pytest.fixture(scope="module")
def base(tiny_base: Path) -> BaseModel:
    return BaseModel.load(str(tiny_base), quantization="none")


@pytest.fixture(scope="module", params=["none", "nf4"])
def trainable(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> BaseModel:
    """A tiny base whose widths are multiples of nf4's block of 64."""
    folder = save_tiny_llama(tmp_path_factory.mktemp("tiny-64"), hidden=64)
    return BaseModel.load(str(folder), quantization=request.param, device="cpu")


@pytest.mark.parametrize("targets", TARGETS)
def test_served_as_peft_computes_it(base: BaseModel, tiny_base: Path, tmp_path: Path, targets: str) -> None:
    folder = save_random_adapter(tmp_path, "ia3", base.shape, scale=1.0, **TARGETS[targets])
    made = replace(read_folder(folder), digest="sha256:ia3")
    requests = [greedy(range(9, 12 + 9 * index), made.digest, 16) for index in range(2)]
    with recording_engine(base, {"": made}, step_tokens=13) as (engine, recorder):
        rows = run(engine, recorder, requests)
    reference = PeftModel.from_pretrained(AutoModelForCausalLM.from_pretrained(tiny_base), folder).eval()
    for request, row in zip(requests, rows, strict=True):
        expected = teacher_forced(reference, request, row)
        torch.testing.assert_close(row.logits, expected, atol=1e-4, rtol=0)
        assert expected.argmax(dim=-1).tolist() == list(row.tokens)


def test_the_default_scales_keys_values_and_the_inner_activation(base: BaseModel) -> None:
    plan = IA3.plan(IA3.Config(), base.shape)
    sides = {site.module.rsplit(".", 1)[-1]: dict(site.params) for site in plan.sites}
    assert {name: next(iter(params)) for name, params in sides.items()} == {
        "k_proj": "output",
        "v_proj": "output",
        "down_proj": "input",
    }
    assert sides["k_proj"]["output"].shape == (16, 1)
    assert sides["down_proj"]["input"].shape == (1, 64)
    assert plan.num_parameters == 3 * (16 + 16 + 64)


@pytest.mark.parametrize("targets", ["default", "one layer", "all-linear"])
def test_training_through_peft(trainable: BaseModel, tmp_path: Path, targets: str) -> None:
    assert_trains(trainable, "ia3", tmp_path / "run" / "out", rate=1e-1, options=TARGETS[targets])


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"target_module": ["k_proj"]}, "unknown option 'target_module'; did you mean 'target_modules'"),
        ({"target_modules": []}, "target_modules: .*at least 1"),
        ({"target_modules": "(k_proj"}, r"target_modules: not a regular expression: missing \), unterminated"),
    ],
)
def test_a_wrong_option_is_named(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        IA3.Config.load(options, where="method ia3")


@pytest.mark.parametrize("targets", [["query"], "query"])
def test_targets_that_match_nothing_list_what_there_is(base: BaseModel, targets: Any) -> None:
    with pytest.raises(ConfigError, match=r"target_modules: 'query' matches no linear module.*down_proj, gate_proj"):
        IA3.plan(IA3.Config(target_modules=targets, feedforward_modules=()), base.shape)


def test_feedforward_modules_outside_the_targets_list_the_targets(base: BaseModel) -> None:
    config = IA3.Config(target_modules=("k_proj", "v_proj"), feedforward_modules=("down_proj",))
    with pytest.raises(ConfigError, match=r"feedforward_modules: 'down_proj' matches no target .*: k_proj, v_proj"):
        IA3.plan(config, base.shape)


def test_modules_saved_beside_the_scales_are_refused_by_name() -> None:
    with pytest.raises(UnsupportedAdapterError, match=r"modules_to_save=\['lm_head'\] is not served"):
        IA3.Config.from_peft({"modules_to_save": ["lm_head"]}, where="adapter a")
