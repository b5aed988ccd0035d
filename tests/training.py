"""A short training run on a tiny base, and what every such run must leave behind."""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

import pytest
import torch
from peft import PeftModel
from transformers import PreTrainedTokenizerBase

from adapterhub.adapter import CONFIG_FILE, read_folder
from adapterhub.base import BaseModel
from adapterhub.data import Dataset, read_dataset
from adapterhub.encoder import Encoder, Example
from adapterhub.plugins import installed_methods
from adapterhub.prompt_format import PromptFormat
from adapterhub.safetensors_header import WHOLE_NUMBERS
from adapterhub.store import Store
from adapterhub.train import Progress, TrainConfig, TrainResult, train
from adapterhub.train.response_loss import mean_loss
from adapterhub.train.stored_on import stored_on


def encode(
    dataset: Dataset, tokenizer: PreTrainedTokenizerBase, prompt_format: PromptFormat, *, max_length: int
) -> list[Example]:
    """Prompts with their completions as training has them."""
    encoder = Encoder(tokenizer, prompt_format, dataset.source, max_length)
    return [row for pair in dataset.pairs for row in encoder.rows(pair)]


def train_briefly(
    base: BaseModel, method: str | None, into: Path, *, rate: float, progress: Progress | None = None, **settings: Any
) -> TrainResult:
    """Train on 24 questions with one of two answers, validated on the same."""
    into.parent.mkdir(parents=True, exist_ok=True)
    data = into.parent / "colors.jsonl"
    pairs = [{"prompt": f"{number}?", "completion": ("red", "blue")[number % 2]} for number in range(24)]
    data.write_text("".join(json.dumps(pair) + "\n" for pair in pairs))
    values = {"base": base.record.id, "data": data, "validation": data, "method": method, "learning_rate": rate}
    config = TrainConfig.load({"epochs": 3, "prompt_format": "raw", **values, **settings}, where="test")
    return train(config, into, base=base, progress=progress)


def assert_trains(base: BaseModel, method: str, into: Path, *, rate: float, options: dict[str, Any]) -> TrainResult:
    """The loss falls, the files are the plan's, PEFT agrees on them, and the base is bit-equal afterwards."""
    before = {name: tensor.clone() for name, tensor in base.model.state_dict().items()}
    result = train_briefly(base, method, into, rate=rate, options=options)
    after = base.model.state_dict()
    assert list(after) == list(before)
    assert all(torch.equal(after[name], tensor) for name, tensor in before.items())
    assert not any(parameter.requires_grad for parameter in base.model.parameters())
    assert result.loss_before is not None
    assert result.loss_after is not None
    assert result.loss_after < 0.95 * result.loss_before

    chosen = installed_methods().get(installed_methods().for_training(method).method)
    adapter = read_folder(into)
    plan = chosen.plan(chosen.Config.load(options, where="test"), base.shape)
    held = {key: header.shape for key, header in adapter.tensors.items()}
    assert plan.shapes().items() <= held.items() <= (plan.shapes() | plan.optional_shapes()).items()
    assert {header.dtype for header in adapter.tensors.values()} - WHOLE_NUMBERS == {"F32"}
    provenance = adapter.provenance
    assert provenance is not None
    assert (provenance.method, provenance.base, provenance.quantization) == (
        chosen.name,
        base.record,
        base.quantization,
    )
    assert str(into.parent.parent) not in (into / CONFIG_FILE).read_text()

    dataset = read_dataset(into.parent / "colors.jsonl")
    assert provenance.prompt_format is not None
    examples = encode(dataset, base.tokenizer, provenance.prompt_format, max_length=64)
    loaded: Any = PeftModel.from_pretrained(copy.deepcopy(base.model), into)
    assert mean_loss(loaded, examples, batch_size=8, device=base.device) == pytest.approx(result.loss_after, abs=1e-5)
    return result


def assert_goes_on(base: BaseModel, method: str, into: Path, *, rate: float, options: dict[str, Any]) -> TrainResult:
    """An adapter that is trained on starts as it is stored, learns, names its parent, and gives the base back."""
    parent = train_briefly(base, method, into / "first" / "out", rate=rate, options=options, max_steps=2)
    ref = Store.default().publish(parent.folder, "parent")
    dataset = read_dataset(into / "first" / "colors.jsonl")
    assert parent.adapter.prompt_format is not None
    examples = encode(dataset, base.tokenizer, parent.adapter.prompt_format, max_length=64)
    before = {name: tensor.clone() for name, tensor in base.model.state_dict().items()}
    with stored_on(base, Store.default().resolve(ref)) as stored:
        loss = mean_loss(stored, examples, batch_size=8, device=base.device)
    if options.get("init_lora_weights") != "loftq":  # trained on what is left of the base, saved for the original
        assert loss == pytest.approx(parent.loss_after, abs=1e-6)
    child = train_briefly(base, None, into / "second" / "out", rate=rate, init_from=str(ref), max_steps=2)
    after = base.model.state_dict()
    assert list(after) == list(before)
    assert all(torch.equal(after[name], tensor) for name, tensor in before.items())
    record = child.adapter.provenance
    assert record is not None
    assert record.parents == (str(ref),)
    assert record.evaluations["validation_loss_start"] == pytest.approx(loss, abs=1e-6)
    assert record.evaluations["validation_loss_before"] == pytest.approx(parent.loss_before, abs=1e-6)
    assert child.loss_after != pytest.approx(loss, abs=1e-6)
    return child
