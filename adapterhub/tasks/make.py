"""Writes the task files: `python -m adapterhub.tasks.make [FOLDER]`, the same bytes each time."""

from __future__ import annotations

import json
import random
import sys
from collections.abc import Iterable
from pathlib import Path

from adapterhub.tasks.orders import orders
from adapterhub.tasks.task import FOLDER
from adapterhub.tasks.tickets import tickets

TRAIN, TEST = 360, 120
SEED = 2026


def make(folder: Path) -> None:
    """Write train and test file of every task."""
    for name, pairs in (("orders", orders), ("tickets", tickets)):
        rng = random.Random(SEED)  # noqa: S311  not a secret
        train = pairs(TRAIN, rng, held_out=False)
        test = {prompt: answer for prompt, answer in pairs(2 * TEST, rng, held_out=True).items() if prompt not in train}
        _write(folder / f"{name}_train.jsonl", train.items())
        _write(folder / f"{name}_test.jsonl", list(test.items())[:TEST])


def _write(path: Path, pairs: Iterable[tuple[str, str]]) -> None:
    lines = [json.dumps({"prompt": prompt, "completion": completion}) for prompt, completion in pairs]
    path.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")


if __name__ == "__main__":
    make(Path(sys.argv[1]) if len(sys.argv) > 1 else FOLDER)
