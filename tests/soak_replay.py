"""On the real small model: an adapter of a narrow task costs less general ability with general data mixed in."""

from __future__ import annotations

import json
from pathlib import Path

from adapterhub.base import BaseModel
from adapterhub.train import TrainConfig, TrainResult, train
from adapterhub.train.general_change import GeneralChange

GENERAL = Path(__file__).parent / "general_paragraphs.txt"
"""Of which nothing stands in the shipped text that forgetting is measured on."""


def test_forgetting_is_smaller_with_replay(tmp_path: Path) -> None:
    base = BaseModel.load("smollm2-135m", quantization="none", device="cpu")
    data = tmp_path / "codes.jsonl"
    lines = [{"prompt": f"order {n}?", "completion": f"ZX-{n * 37 % 1000:03d} QQ"} for n in range(48)]
    data.write_text("".join(json.dumps(line) + "\n" for line in lines))

    def trained(into: str, replay: Path | None) -> TrainResult:
        config = TrainConfig(
            base="smollm2-135m",
            data=data,
            validation_share=0,
            prompt_format="raw",
            learning_rate=3e-3,
            max_steps=10,
            batch_size=4,
            replay=replay,
            replay_share=0.4,
        )
        return train(config, tmp_path / into, base=base)

    def forgotten(result: TrainResult) -> float:
        assert result.adapter.provenance is not None
        change = GeneralChange.of(result.adapter.provenance.forgetting)
        assert change is not None
        return change.change

    without, with_replay = trained("without", None), trained("with", GENERAL)
    assert forgotten(without) > 0.1
    assert forgotten(with_replay) < 0.5 * forgotten(without)
    for result in (without, with_replay):  # the task is learned either way
        assert sum(result.losses[-3:]) < 0.7 * sum(result.losses[:3])
