"""The demo's first half: train on the 4-bit base, publish, and show what training brought."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

from adapterhub.base import BaseModel
from adapterhub.data import read_dataset
from adapterhub.demo.recipe import (
    MIN_ACCURACY_GAIN,
    MIN_LOSS_DROP,
    SERVE_QUANTIZATION,
    TRAIN_QUANTIZATION,
    Recipe,
)
from adapterhub.engine import Completion, Engine, Request, Sampling
from adapterhub.evaluate import complete
from adapterhub.records import Pair
from adapterhub.store import AdapterRef, Store
from adapterhub.tasks import Task
from adapterhub.train import TrainConfig, TrainResult, train


@dataclass(frozen=True)
class Trained:
    """A published adapter with the figures of its training."""

    recipe: Recipe
    ref: AdapterRef
    result: TrainResult


class Accuracy(NamedTuple):
    """How many of the answers were right."""

    right: int
    total: int

    @property
    def percent(self) -> float:
        return 100 * self.right / self.total


def train_and_publish(recipe: Recipe, base: BaseModel, store: Store, console: Console) -> Trained:
    """Train one adapter on the frozen base and publish it."""
    config = TrainConfig(
        base=base.record.id,
        method=recipe.method,
        options=dict(recipe.options),
        data=recipe.task.train,
        validation=recipe.task.test,
        quantization=TRAIN_QUANTIZATION,
        prompt_format="chat",
        system_prompt=recipe.system_prompt,
        max_steps=recipe.steps,
        learning_rate=recipe.learning_rate,
    )
    with tempfile.TemporaryDirectory() as folder, progress_bar(console) as bar:
        row = bar.add_task(f"train {recipe.name}")
        result = train(
            config,
            Path(folder) / "adapter",
            base=base,
            progress=lambda step: bar.update(row, completed=step.step, total=step.total),
        )
        ref = store.publish(result.folder, recipe.name)
    return Trained(recipe, ref, result)


def accuracies(
    trained: list[Trained], base_ref: str, store: Store, console: Console
) -> list[tuple[Accuracy, Accuracy]]:
    """Accuracy of the bare base and of each adapter on its held-out examples, all in shared batches."""
    base = BaseModel.load(base_ref, quantization=SERVE_QUANTIZATION)
    groups, keys = [], []
    for item in trained:
        prompt_format = item.result.adapter.prompt_format
        assert prompt_format is not None
        pairs = read_dataset(item.recipe.task.test).pairs
        prompts = [tuple(prompt_format.encode_prompt(base.tokenizer, pair.prompt)) for pair in pairs]
        sampling = Sampling(max_new_tokens=item.recipe.max_new_tokens)
        for digest in ("", item.ref.digest):
            groups.append([Request(ids, digest, sampling) for ids in prompts])
            keys.append((item.recipe.task, pairs))
    with Engine(base) as engine, progress_bar(console) as bar:
        for item in trained:
            engine.load_adapter(store.resolve(item.ref))
        row = bar.add_task("evaluate", total=sum(map(len, groups)))
        answers = complete(engine, groups, on_answer=lambda: bar.advance(row))
    scores = [_accuracy(task, pairs, group) for (task, pairs), group in zip(keys, answers, strict=True)]
    return list(zip(scores[::2], scores[1::2], strict=True))


def _accuracy(task: Task, pairs: Sequence[Pair], answers: Sequence[Completion]) -> Accuracy:
    right = sum(task.score(answer.text, pair.completion) for answer, pair in zip(answers, pairs, strict=True))
    return Accuracy(right, len(pairs))


def report(trained: list[Trained], scored: list[tuple[Accuracy, Accuracy]], console: Console) -> list[str]:
    """Print what training brought; the goals that were missed."""
    table = Table(title="Held-out examples, before and after training")
    for column in ("adapter", "method", "examples", "validation loss", "accuracy", "parameters", "tokens/s"):
        table.add_column(column, justify="left" if column in ("adapter", "method") else "right")
    missed = []
    for item, (before, after) in zip(trained, scored, strict=True):
        result = item.result
        assert result.loss_before is not None
        assert result.loss_after is not None
        drop = 1 - result.loss_after / result.loss_before
        gain = after.percent - before.percent
        table.add_row(
            item.recipe.name,
            item.recipe.method,
            str(after.total),
            f"{result.loss_before:.3f} -> {result.loss_after:.3f} ({-drop:.0%})",
            f"{before.percent:.1f} -> {after.percent:.1f} % ({gain:+.1f})",
            f"{result.adapter.num_parameters:,}",
            f"{result.tokens_per_second:.0f}",
        )
        if drop < MIN_LOSS_DROP:
            missed.append(f"{item.recipe.name}: loss fell by {drop:.0%}, needed {MIN_LOSS_DROP:.0%}")
        if gain < MIN_ACCURACY_GAIN:
            missed.append(f"{item.recipe.name}: accuracy rose by {gain:.1f} points, needed {MIN_ACCURACY_GAIN:.0f}")
    console.print(table)
    return missed


def progress_bar(console: Console) -> Progress:
    """A bar on a terminal; elsewhere its last state, once."""
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    return Progress(*columns, console=console)
