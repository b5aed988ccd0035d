"""Several adapters at once are the weighted sum of what each changes, and a blend lives as any adapter does."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from adapterhub_server.caller import CALLER, Caller
from adapterhub_server.catalog import Catalog
from cases import Case, tiny_case
from conftest import save_random_adapter
from peft import PeftModel
from serving import Serving, serving
from test_adapter_pool import engine_with_room
from transformers import AutoModelForCausalLM

from adapterhub.adapter import Adapter, read_folder
from adapterhub.base import BaseModel
from adapterhub.client import AioClient
from adapterhub.engine import Blend, Engine, Request, Sampling, adapter_pool
from adapterhub.engine.blended import summed
from adapterhub.errors import (
    AdapterHubError,
    AdapterNotFoundError,
    ConflictError,
    InvalidInputError,
    RefError,
    UnsupportedAdapterError,
)
from adapterhub.op import LowRank
from adapterhub.prompt_format import PromptFormat
from adapterhub.testing.equality import Row, greedy, recording_engine, run, teacher_forced

RECIPES = [
    ("lora", {"r": 8, "lora_alpha": 12}, 1.0),
    ("lora", {"r": 3, "use_rslora": True, "target_modules": ["q_proj", "down_proj"]}, 1.0),
    ("lora", {"r": 4, "use_dora": True, "target_modules": ["q_proj", "up_proj"]}, 1.0),
    ("lora", {"r": 2, "target_modules": ["lm_head"]}, 1.0),
    ("ia3", {}, 10.0),
    ("prefix_tuning", {"num_virtual_tokens": 5}, 10.0),
    ("lora", {"r": 2, "target_modules": ["embed_tokens"]}, 1.0),
    ("lora", {"r": 2, "modules_to_save": ["lm_head"]}, 1.0),
    ("lora", {"r": 2, "alora_invocation_tokens": [5, 6]}, 1.0),
]
BLENDABLE = 4
WEIGHTS = (0.7, -1.3, 2.0, 0.25)


@pytest.fixture(scope="module")
def case(tiny_base: Path, tmp_path_factory: pytest.TempPathFactory) -> Case:
    return tiny_case(tiny_base, tmp_path_factory.mktemp("blend"), "none", RECIPES)


def blend(case: Case, *weights: float) -> Blend:
    """Of the case's first adapters."""
    return Blend.of(list(zip(case.adapters.values(), weights, strict=False)))


def asked(case: Case, digest: str) -> Request:
    return replace(case.requests[1], adapter=digest)


def rows(case: Case, *served: Adapter | Blend, others: list[Request] | None = None) -> list[Row]:
    """What each gives for one prompt in one batch, in front of `others`."""
    with recording_engine(case.base, {each.digest: each for each in served}) as (engine, recorder):  # type: ignore[misc]
        for adapter in case.adapters.values():
            engine.register_adapter(adapter)
        return run(engine, recorder, [asked(case, each.digest) for each in served] + (others or []))


def test_a_blend_is_the_weighted_sum_of_peft_s_changes_of_the_weights(case: Case) -> None:
    plain = AutoModelForCausalLM.from_pretrained(case.folder, dtype=torch.float64)
    plain.lm_head.weight = torch.nn.Parameter(plain.lm_head.weight.detach().clone())
    own = {name: tensor.clone() for name, tensor in plain.state_dict().items()}
    changed = {name: tensor.clone() for name, tensor in own.items()}
    for folder, weight in zip(case.folders.values(), WEIGHTS, strict=False):
        plain.load_state_dict(own)
        merged = PeftModel.from_pretrained(plain, str(folder), autocast_adapter_dtype=False).merge_and_unload()
        for name, tensor in merged.state_dict().items():
            changed[name] += weight * (tensor - own[name])
        plain = merged
    plain.load_state_dict(changed)
    (row,) = rows(case, blend(case, *WEIGHTS))
    truth = teacher_forced(plain.eval(), asked(case, ""), row)
    assert torch.equal(truth.argmax(dim=-1), torch.tensor(row.tokens))
    assert torch.allclose(row.logits, truth, atol=2e-5 * float(truth.abs().max()))
