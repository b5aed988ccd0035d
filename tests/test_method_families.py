"""Every method on other decoder families, all in one batch: what is served is what PEFT computes."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from conftest import save_random_adapter
from peft import PeftModel
from test_families import FAMILIES, SIZES
from transformers import AutoModelForCausalLM, Olmo2Config

import adapterhub.peft  # noqa: F401  PEFT learns to load our methods
from adapterhub.adapter import Adapter, read_folder
from adapterhub.base import BaseModel
from adapterhub.testing.equality import assert_equal, greedy, recording_engine, run, teacher_forced
from adapterhub.testing.tiny_base import save_tiny_llama, save_tokenizer

RECIPES: dict[str, tuple[str, dict[str, Any], float]] = {
    "lora": ("lora", {"r": 4}, 0.1),
    "houlsby": ("bottleneck", {"placement": "houlsby", "reduction_factor": 4, "non_linearity": "swish"}, 0.2),
    "pfeiffer": ("bottleneck", {"placement": "pfeiffer", "reduction_factor": 4}, 0.2),
    "parallel": ("bottleneck", {"placement": "parallel", "reduction_factor": 2, "scaling": 4}, 0.2),
    "ia3": ("ia3", {}, 1.0),
    "ln_tuning": ("ln_tuning", {}, 1.0),
    "prompt": ("prompt_tuning", {"num_virtual_tokens": 5}, 1.0),
    "p_tuning": ("p_tuning", {"num_virtual_tokens": 3}, 1.0),
    "prefix": ("prefix_tuning", {"num_virtual_tokens": 9}, 1.0),  # longer than the sliding windows are
}
"""Method, options and the standard deviation of its random values."""
BASES = {**FAMILIES, "olmo2-norms-behind": Olmo2Config(**SIZES)}


# PEFT finds GPT-2's transposed linears itself and says so.
@pytest.mark.filterwarnings("ignore:fan_in_fan_out is set to False but the target module is `Conv1D`:UserWarning")
@pytest.mark.parametrize("family", BASES)
def test_a_mixed_batch_of_all_methods_equals_peft_on(family: str, tmp_path: Path) -> None:
    folder = _save_base(tmp_path / "base", family)
    base = BaseModel.load(str(folder), quantization="none")
    adapters = _save_adapters(tmp_path, base)
    names = ["", *adapters]
    # short prompts: what is further back than three sliding windows has no effect on the first token
    requests = [greedy(range(3 + index, 7 + 2 * index), name, 24) for index, name in enumerate(names)]
    with recording_engine(base, adapters, step_tokens=33) as (engine, recorder):
        rows = run(engine, recorder, requests)
        bare = run(engine, recorder, [replace(request, adapter="") for request in requests])
        assert engine.stats().mixed_method_steps > 10
    models = {name: _peft_model(folder, tmp_path / name if name else None) for name in names}
    for index, (request, row, base_row) in enumerate(zip(requests, rows, bare, strict=True)):
        expected = teacher_forced(models[request.adapter], request, row)
        torch.testing.assert_close(row.logits, expected, atol=1e-4, rtol=0)
        assert expected.argmax(dim=-1).tolist() == list(row.tokens)
        another = teacher_forced(models[names[index - 1]], request, row)
        assert (row.logits - another).abs().max() > 0.05, "another adapter would have passed for this one"
        assert not request.adapter or (row.logits[0] - base_row.logits[0]).abs().max() > 0.05


@pytest.mark.parametrize("quantization", ["int8", "nf4"])
def test_a_mixed_batch_equals_the_requests_alone_on_a_quantized_base(quantization: Any, tmp_path: Path) -> None:
    base = BaseModel.load(str(save_tiny_llama(tmp_path / "base", hidden=64)), quantization=quantization)
    adapters = _save_adapters(tmp_path, base)
    requests = [greedy(range(3 + index, 7 + 4 * index), name, 12) for index, name in enumerate(["", *adapters])]
    with recording_engine(base, adapters, step_tokens=33) as (engine, recorder):
        alone = [run(engine, recorder, [request])[0] for request in requests]
        bare = [run(engine, recorder, [replace(request, adapter="")])[0] for request in requests]
        assert_equal(engine, recorder, requests, alone)
    for row, base_row in zip(alone[1:], bare[1:], strict=True):
        assert (row.logits[0] - base_row.logits[0]).abs().max() > 0.05


def _save_base(folder: Path, family: str) -> Path:
    """A random base whose biases and norms are not the zeros and ones of a fresh one."""
    torch.manual_seed(0)
    model: Any = AutoModelForCausalLM.from_config(BASES[family])  # type: ignore[no-untyped-call]
    for parameter in model.parameters():
        if parameter.ndim == 1:
            parameter.data += 0.1 * torch.randn_like(parameter)
    model.save_pretrained(folder)
    save_tokenizer(folder)
    return folder


def _save_adapters(folder: Path, base: BaseModel) -> dict[str, Adapter]:
    """An adapter of each recipe, in a folder of its name, its digest the name too."""
    adapters = {}
    for seed, (name, (method, options, scale)) in enumerate(RECIPES.items()):
        saved = save_random_adapter(folder / name, method, base.shape, seed=seed, scale=scale, **options)
        adapters[name] = replace(read_folder(saved), digest=name)
    return adapters


def _peft_model(base: Path, adapter: Path | None) -> torch.nn.Module:
    model: torch.nn.Module = AutoModelForCausalLM.from_pretrained(base, attn_implementation="eager")
    if adapter is not None:
        model = PeftModel.from_pretrained(model, str(adapter))
    model.train(False)
    return model
