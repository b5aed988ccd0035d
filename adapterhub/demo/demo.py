"""The main job: train two adapters of different methods, serve both from shared batches, swap in a third."""

from __future__ import annotations

import sys
import time

from rich.console import Console

from adapterhub.base import BaseModel
from adapterhub.demo.recipe import SMOLLM2, TRAIN_QUANTIZATION, Plan
from adapterhub.demo.serving import Serving
from adapterhub.demo.training import accuracies, report, train_and_publish
from adapterhub.store import Store

WIDTH = 140
"""Columns of the tables where no terminal says."""


def run_demo(plan: Plan = SMOLLM2) -> list[str]:
    """Run the whole job and print what it measured; the goals that were missed, none when all is well."""
    console = Console(file=sys.stderr)
    out = Console(width=None if sys.stdout.isatty() else WIDTH)
    started = time.monotonic()
    store = Store.default()
    console.print(f"[bold]1. Train[/bold] on {plan.base}, frozen and quantized to {TRAIN_QUANTIZATION}")
    base = BaseModel.load(plan.base, quantization=TRAIN_QUANTIZATION)
    trained = [train_and_publish(recipe, base, store, console) for recipe in plan.first]
    scored = accuracies(trained, plan.base, store, console)
    missed = report(trained, scored, out)
    with Serving(plan.base, console) as serving:
        serving.ask([(item.ref, item.recipe.task) for item in trained])
        console.print(f"[bold]3. Swap in[/bold] a third method while the server runs: {plan.swapped_in.method}")
        third = train_and_publish(plan.swapped_in, base, store, console)
        serving.ask([(item.ref, item.recipe.task) for item in (*trained, third)])
        missed += serving.report(out)
    out.print(f"The whole job took {time.monotonic() - started:.0f} s")
    return missed
