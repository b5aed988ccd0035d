"""The estimated peak of training memory against what PyTorch's allocator gave out.

The profiler sees every allocation and every release of CPU tensors, kernels' own included, so the
peak is the same in every run and no other process moves it.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch.profiler import ProfilerActivity, profile
from transformers import LlamaConfig, LlamaForCausalLM

from adapterhub.base import BaseModel, Quantization
from adapterhub.encoder import Example
from adapterhub.estimate import EstimateConfig, Training, estimate
from adapterhub.testing import save_tokenizer
from adapterhub.train import TrainConfig, train
from adapterhub.train.examples import collate
from adapterhub.train.response_loss import summed_loss

EXAMPLES, LENGTH = 4, 96
TOLERANCE = 0.1
"""How far an estimate may be from what was measured; 0.25 is promised."""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A random Llama of four million parameters; of a step's memory layers, logits and states all count."""
    folder = tmp_path_factory.mktemp("base")
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=2048,
        hidden_size=256,
        intermediate_size=640,
        num_hidden_layers=4,
        num_attention_heads=8,
        num_key_value_heads=2,
        head_dim=32,
        max_position_embeddings=256,
        bos_token_id=0,
        eos_token_id=1,
        pad_token_id=1,
        tie_word_embeddings=False,
    )
    LlamaForCausalLM(config).save_pretrained(folder)
    save_tokenizer(folder)
    return folder


def peak_of(run: Callable[[], object]) -> int:
    """The most bytes of tensors alive at a time while `run` runs, above those alive before."""
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as profiled:
        run()
    assert profiled.profiler is not None
    events = [event for event in profiled.profiler.kineto_results.events() if event.name() == "[memory]"]
    held = peak = 0
    for event in sorted(events, key=lambda event: event.start_ns()):
        held += event.nbytes()
        peak = max(peak, held)
    return peak


def adapter_steps(base: BaseModel, method: str, options: dict[str, Any], folder: Path) -> Callable[[], object]:
    """Two steps of `train` on examples that are, but for a prompt of one token, all response."""
    data = folder / "data.jsonl"
    lengths = (LENGTH - 2, LENGTH - 4) * EXAMPLES  # differing ones, so that there is a mask
    data.write_text("".join(json.dumps({"prompt": "a", "completion": "b" * length}) + "\n" for length in lengths))
    settings = {"method": method, "options": options, "batch_size": EXAMPLES, "max_length": LENGTH, "max_steps": 2}
    values = {"base": base.record.id, "data": data, "prompt_format": "raw", "validation_share": 0, **settings}
    config = TrainConfig.load(values, where="test")
    return lambda: train(config, folder / "out", base=base)


def full_steps(base: BaseModel, *, checkpoints: bool) -> None:
    """Two steps that train every weight."""
    model: Any = base.model.train().requires_grad_(True)
    if checkpoints:
        model.activation_checkpointing_enable({"use_reentrant": False})
    optimizer = torch.optim.AdamW(model.parameters(), fused=True)
    ids = torch.arange(LENGTH).tolist()
    batch = collate([Example(input_ids=ids[index:], labels=[-100, *ids[index + 1 :]]) for index in range(EXAMPLES)])
    for _ in range(2):
        summed_loss(model, batch).backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        optimizer.zero_grad()


def way(folder: Path, method: str, options: dict[str, Any], quantization: str) -> Training:
    values = {"base": str(folder), "method": method, "options": options, "batch_size": EXAMPLES, "max_length": LENGTH}
    found = estimate(EstimateConfig.load(values, where="test"), device="cpu").training[1:]
    return next(training for training in found if training.quantization == quantization)


@pytest.mark.parametrize(
    ("method", "options", "quantization", "checkpoints"),
    [
        ("lora", {}, "none", False),
        ("lora", {"use_dora": True}, "nf4", False),
        ("qlora", {"r": 16}, "nf4", True),
        ("bottleneck", {"placement": "houlsby"}, "none", False),
        ("prompt_tuning", {}, "none", False),
    ],
    ids=str,
)
def test_the_peak_of_an_adapters_training_is_as_estimated(
    method: str, options: dict[str, Any], quantization: Quantization, checkpoints: bool, folder: Path, tmp_path: Path
) -> None:
    base = BaseModel.load(str(folder), quantization=quantization, device="cpu")
    measured = base.weight_bytes + peak_of(adapter_steps(base, method, options, tmp_path))
    training = way(folder, method, options, quantization)
    estimated = training.checkpointed_peak_bytes if checkpoints else training.peak_bytes
    assert estimated == pytest.approx(measured, rel=TOLERANCE)


@pytest.mark.parametrize("checkpoints", [False, True])
def test_the_peak_of_full_fine_tuning_is_as_estimated(checkpoints: bool, folder: Path) -> None:
    base = BaseModel.load(str(folder), quantization="none", device="cpu")
    measured = base.weight_bytes + peak_of(lambda: full_steps(base, checkpoints=checkpoints))
    values = {"base": str(folder), "batch_size": EXAMPLES, "max_length": LENGTH}
    full = estimate(EstimateConfig.load(values, where="test"), device="cpu").training[0]
    estimated = full.checkpointed_peak_bytes if checkpoints else full.peak_bytes
    assert estimated == pytest.approx(measured, rel=TOLERANCE)
