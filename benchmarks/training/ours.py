"""`adapterhub.train`, with nothing held out and no checkpoints.

What it measures of general text before and after the steps, and the check of what it wrote, are in its memory; they are
not between the steps that are timed.
"""

from __future__ import annotations

from pathlib import Path

from adapterhub.train import TrainConfig, TrainStep, train
from benchmarks.training.protocol import Spec, Step, drive, now


def train_ours(spec: Spec, into: Path) -> list[Step]:
    config = TrainConfig.load(
        {
            "base": spec.model,
            "data": spec.data,
            "method": "lora",
            "options": {"r": spec.rank, "lora_alpha": spec.alpha},
            "quantization": "nf4" if spec.nf4 else "none",
            "prompt_format": "raw",
            "max_steps": spec.steps,
            "batch_size": spec.batch_size,
            "learning_rate": spec.learning_rate,
            "schedule": spec.schedule,
            "warmup": spec.warmup,
            "max_grad_norm": spec.max_grad_norm,
            "weight_decay": spec.weight_decay,
            "seed": spec.seed,
            "gradient_checkpointing": spec.recompute,
            "validation_share": 0,
            "samples": 0,
        },
        where="bench",
    )
    steps: list[Step] = []

    def note(step: TrainStep) -> None:
        steps.append(now(step.tokens, step.loss))

    train(config, into, progress=note)
    return steps


if __name__ == "__main__":
    drive(train_ours)
