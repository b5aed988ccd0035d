"""The main job: train two adapters of different methods, serve both from shared batches, swap in a third."""

from __future__ import annotations

import sys
import time

from rich.console import Console

from adapterhub.base import BaseModel
from adapterhub.demo.recipe import BASE, BOTTLENECK, LORA, PROMPT_TUNING, TRAIN_QUANTIZATION
from adapterhub.demo.serving import Serving
from adapterhub.demo.training import accuracies, report, train_and_publish
from adapterhub.store import Store


def run_demo() -> list[str]:
    """Run the whole job and print what it measured; the goals that were missed, none when all is well."""
    console = Console(file=sys.stderr)
    started = time.monotonic()
    store = Store.default()
    console.print(f"[bold]1. Train[/bold] on {BASE}, frozen and quantized to {TRAIN_QUANTIZATION}")
    base = BaseModel.load(BASE, quantization=TRAIN_QUANTIZATION)
    trained = [train_and_publish(recipe, base, store, console) for recipe in (LORA, BOTTLENECK)]
    scored = accuracies(trained, BASE, store, console)
    missed = report(trained, scored, Console())
    with Serving(console) as serving:
        serving.ask([(item.ref, item.recipe.task) for item in trained])
        console.print(f"[bold]3. Swap in[/bold] a third method while the server runs: {PROMPT_TUNING.method}")
        third = train_and_publish(PROMPT_TUNING, base, store, console)
        serving.ask([(item.ref, item.recipe.task) for item in (*trained, third)])
        missed += serving.report(Console())
    console.print(f"The whole job took {time.monotonic() - started:.0f} s")
    return missed
