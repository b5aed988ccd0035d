"""A run in a folder of its own, which a test stops, resumes and looks into."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from adapterhub.base import BaseModel
from adapterhub.train import TrainConfig, TrainResult, train
from adapterhub.train.result import Event
from adapterhub.train.run_folder import RunFolder


def save_colors(path: Path) -> Path:
    """Twenty questions with answers of different lengths."""
    answers = [("red", "blue")[number % 2] * (1 + number % 3) for number in range(20)]
    lines = [json.dumps({"prompt": f"{number}?", "completion": answer}) for number, answer in enumerate(answers)]
    path.write_text("\n".join(lines))
    return path


def run_in(
    place: Path, base: BaseModel, data: Path, *, until: int | None = None, resume: bool = False, **settings: Any
) -> TrainResult:
    """Nine steps in three epochs, or the first `until` of them."""
    values = {"base": "given", "data": data, "options": {"r": 4, "lora_dropout": 0.3}, "learning_rate": 1e-2}
    usual = {
        "epochs": 3,
        "batch_size": 3,
        "accumulate": 2,
        "checkpoint_every": 2,
        "prompt_format": "raw",
        "patience": 0,
    }
    config = TrainConfig.load(values | usual | settings, where="test")
    seen: list[Event] = []

    def stop() -> bool:
        return bool(until) and max((event.step for event in seen), default=0) + 1 >= (until or 0)

    with RunFolder.open(place, resume=resume) as folder:
        return train(config, folder.adapter, base=base, folder=folder, watch=seen.append, stop=stop)
