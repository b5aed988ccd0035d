"""Short runs of an objective over methods of every kind."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from adapterhub.base import BaseModel
from adapterhub.encoder import Encoder
from adapterhub.prompt_format import FormatKind, PromptFormat
from adapterhub.train import TrainConfig, TrainResult, train

METHODS: dict[str, tuple[dict[str, Any], float]] = {
    "lora": ({"target_modules": ["q_proj", "down_proj"]}, 1e-2),
    "ia3": ({}, 3e-2),
    "bottleneck": ({"placement": "houlsby", "reduction_factor": 4}, 1e-2),
    "prefix_tuning": ({"num_virtual_tokens": 4, "init_weights": "zero"}, 3e-1),
    "prompt_tuning": ({"num_virtual_tokens": 4}, 1e-1),
}
"""Options and learning rate of a short run of each."""


def save_lines(path: Path, lines: Iterable[Mapping[str, Any]]) -> Path:
    """A JSONL file."""
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    return path


def train_to(objective: str, base: BaseModel, data: Path, into: Path, method: str, **settings: Any) -> TrainResult:
    """A run validated on what it trains on."""
    options, rate = METHODS[method]
    values = {"base": base.record.id, "data": data, "validation": data, "method": method, "options": options}
    values |= {"objective": objective, "learning_rate": rate, "epochs": 3, **settings}
    return train(TrainConfig.load(values, where="test"), into, base=base)


def encoder_of(base: BaseModel, kind: FormatKind = "raw", **settings: Any) -> Encoder:
    """An encoder of rows of up to 64 tokens, unless said otherwise."""
    values: dict[str, Any] = {"max_length": 64, **settings}
    return Encoder(base.tokenizer, PromptFormat.of(base.tokenizer, kind), "data.jsonl", **values)
