"""Activated LoRA: acts from its invocation on, and shares the bare base's keys and values in front of it."""

from __future__ import annotations

from collections.abc import Iterable
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
from adapterhub.engine import Engine, Request
from adapterhub.engine.block_table import BLOCK_TOKENS
from adapterhub.errors import ConfigError
from adapterhub.plugins import installed_methods
from adapterhub.testing.equality import assert_equal, greedy, recording_engine, run, teacher_forced

LORA = installed_methods().get("lora")
CALL = (250, 251, 252)
OTHER_CALL = (240, 241)


@pytest.fixture(scope="module")
def base(tiny_base: Path) -> BaseModel:
    return BaseModel.load(str(tiny_base), quantization="int8")


@pytest.fixture(scope="module")
def adapters(base: BaseModel, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Adapter]:
    """Two activated ones, and a plain one."""
    options: dict[str, dict[str, Any]] = {
        "first": {"alora_invocation_tokens": list(CALL)},
        "second": {"alora_invocation_tokens": list(OTHER_CALL), "target_modules": ["q_proj", "v_proj", "lm_head"]},
        "plain": {},
    }
    made = {}
    for seed, (name, chosen) in enumerate(options.items()):
        folder = tmp_path_factory.mktemp(name)
        save_random_adapter(folder, "lora", base.shape, seed=seed, scale=0.2, r=4, **chosen)
        made[f"sha256:{name}"] = replace(read_folder(folder), digest=f"sha256:{name}")
    return made


def prompt(*parts: Iterable[int]) -> list[int]:
    return [token for part in parts for token in part]


def requests() -> list[Request]:
    """Called early, late, twice, not at all, and by another's tokens."""
    body = range(40, 77)
    prompts = {
        "first": [
            prompt(CALL, body),
            prompt(body, CALL, [9]),
            prompt(body, CALL, [7], CALL, [8, 9]),
            prompt(body),
            prompt(body, OTHER_CALL),
            prompt(body, CALL),
        ],
        "second": [prompt(body, OTHER_CALL, [5]), prompt([4], OTHER_CALL, body, body)],
        "plain": [prompt(body, CALL, [9])],
    }
    asked = [greedy(ids, f"sha256:{name}", 6) for name, found in prompts.items() for ids in found]
    return [greedy(prompt(body, CALL, [9]), "", 6), *asked]


def test_served_as_peft_computes_it(tiny_base: Path, adapters: dict[str, Adapter]) -> None:
    base = BaseModel.load(str(tiny_base), quantization="none")
    with recording_engine(base, adapters, step_tokens=19) as (engine, recorder):
        rows = run(engine, recorder, requests())
    for digest, adapter in adapters.items():
        folder = adapter.files["adapter_model.safetensors"].parent
        model = PeftModel.from_pretrained(AutoModelForCausalLM.from_pretrained(tiny_base), folder).eval()
        for request, row in zip(requests(), rows, strict=True):
            if request.adapter == digest:
                expected = teacher_forced(model, request, row)
                torch.testing.assert_close(row.logits, expected, atol=1e-4, rtol=0)
                assert expected.argmax(dim=-1).tolist() == list(row.tokens)


def test_a_row_of_a_mixed_batch_equals_the_request_alone(base: BaseModel, adapters: dict[str, Adapter]) -> None:
    alone = []
    for request in requests():  # each with an engine of its own: nothing to be found in a cache
        with recording_engine(base, adapters) as (engine, recorder):
            alone += run(engine, recorder, [request])
    with recording_engine(base, adapters, step_tokens=33) as (engine, recorder):
        assert_equal(engine, recorder, requests(), alone, tolerance=0.0)
        assert_equal(engine, recorder, requests()[::-1], alone[::-1], tolerance=0.0)
        assert engine.stats().reused_tokens
    uncalled, called = alone[4], alone[1]
    bare = requests()[4]
    with recording_engine(base, {}) as (engine, recorder):
        (base_row,) = run(engine, recorder, [replace(bare, adapter="")])
    assert torch.equal(uncalled.logits, base_row.logits)
    assert float((called.logits[0] - base_row.logits[0]).abs().max()) > 0.05


def test_the_bases_keys_are_shared_up_to_the_invocation(base: BaseModel, adapters: dict[str, Adapter]) -> None:
    body = range(40, 40 + 3 * BLOCK_TOKENS + 5)
    after = prompt(CALL, range(3, 3 + 2 * BLOCK_TOKENS))
    with Engine(base, kv_tokens=1024) as engine:
        for adapter in adapters.values():
            engine.load_adapter(adapter)

        def reused(ids: list[int], adapter: str) -> int:
            before = engine.stats().reused_tokens
            engine.generate([greedy(ids, adapter, 1)])
            return engine.stats().reused_tokens - before

        everything = prompt(body, after)
        assert reused(everything, "") == 0
        assert reused(everything, "sha256:first") == 3 * BLOCK_TOKENS
        assert reused(everything, "sha256:first") == len(everything) // BLOCK_TOKENS * BLOCK_TOKENS
        assert reused(everything, "sha256:plain") == 0
        assert reused(prompt(body, OTHER_CALL, after), "sha256:second") == 3 * BLOCK_TOKENS
        engine.check_integrity()


def test_training_through_peft(tiny_base: Path, tmp_path: Path) -> None:
    base = BaseModel.load(str(tiny_base), quantization="none")
    question = base.tokenizer("?", add_special_tokens=False)["input_ids"]
    options = {"r": 4, "alora_invocation_tokens": question}
    assert_trains(base, "lora", tmp_path / "run" / "out", rate=3e-2, options=options)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"alora_invocation_tokens": []}, "alora_invocation_tokens is empty"),
        ({"alora_invocation_tokens": [1], "use_dora": True}, "does not go with use_dora"),
        ({"alora_invocation_tokens": [1], "modules_to_save": ["lm_head"]}, "does not go with modules_to_save"),
        ({"alora_invocation_tokens": [1], "target_modules": ["embed_tokens"]}, "not served on embeddings"),
    ],
)
def test_what_would_act_on_every_token_is_refused(options: dict[str, Any], message: str, base: BaseModel) -> None:
    with pytest.raises(ConfigError, match=message):
        LORA.plan(LORA.Config.load(options, where="method lora"), base.shape)
