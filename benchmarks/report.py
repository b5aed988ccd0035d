"""What a run of the bench leaves: one JSON file, one page of tables, one plot."""

from __future__ import annotations

import json
import os
import platform
import time
from pathlib import Path
from typing import Any

from benchmarks.work import Bench, Goal, Plot, Work

JSON_FILE = "bench.json"
PAGE_FILE = "bench.md"
PLOT_FILE = "bench.png"


def write_report(bench: Bench, works: list[Work]) -> list[str]:
    """Run `works` and write what they find into the bench's output after each. Returns the page's lines."""
    bench.output.mkdir(parents=True, exist_ok=True)
    found: dict[str, Any] = {"machine": machine(), "base": bench.base, "rounds": bench.rounds}
    found |= {"adapter_dtype": bench.adapter_dtype, "works": {}}
    lines: list[str] = []
    goals: list[Goal] = []
    plots: list[tuple[str, Plot]] = []
    for work in works:
        bench.say(f"{work.title}; load average {os.getloadavg()[0]:.2f}")
        started = time.perf_counter()
        result = work.run(bench)
        found["works"][work.name] = result | {"title": work.title, "took": time.perf_counter() - started}
        (bench.output / JSON_FILE).write_text(json.dumps(found, indent=1))
        lines += [f"## {work.title}", "", *work.table(result)]
        goals += work.goals(result)
        (bench.output / PAGE_FILE).write_text("\n".join([*head(found), *reached(goals), *lines]))
        if plot := work.plot(result):
            plots.append((work.name, plot))
    draw(plots, bench.output / PLOT_FILE, bench)
    return [*head(found), *reached(goals), *lines]


def machine() -> dict[str, Any]:
    """What the figures were measured on."""
    return {
        "processor": _processor(),
        "cores": os.cpu_count(),
        "system": f"{platform.system()} {platform.machine()}",
        "python": platform.python_version(),
        "date": time.strftime("%Y-%m-%d"),
        "load": os.getloadavg()[0],
    }


def head(found: dict[str, Any]) -> list[str]:
    facts = found["machine"]
    return [
        f"{facts['processor']}, {facts['cores']} cores, Python {facts['python']}, {facts['date']}; load average at the "
        f"start {facts['load']:.2f}. Base {found['base']}, adapters in {found['adapter_dtype']}; medians of "
        f"{found['rounds']} rounds; tokens/s count generated tokens, the prompts' time included; of training, those "
        "that were learned from.",
        "",
    ]


def reached(goals: list[Goal]) -> list[str]:
    """A table of what is aimed for, what it came to, and whether that is enough."""
    if not goals:
        return []
    lines = ["## What is aimed for", "", "| ratio | measured | aim | |", "| --- | ---: | ---: | --- |"]
    for goal in goals:
        figure = "" if goal.figure is None else f"{goal.figure:.3g}"
        verdict = {None: "not measured", True: "reached", False: "**not reached**"}[goal.reached]
        bound = f"at {'most' if goal.at_most else 'least'} {goal.bound:g}"
        lines.append(f"| {goal.what} | {figure} | {bound} | {verdict} |")
    return [*lines, ""]


def draw(plots: list[tuple[str, Plot]], path: Path, bench: Bench) -> None:
    """One panel for each plot. Without matplotlib there is none, and that is said."""
    if not plots:
        return
    try:
        from matplotlib.figure import Figure
    except ImportError:
        bench.say("no plot: matplotlib is not installed (pip install 'adapterhub[bench]')")
        return
    figure = Figure(figsize=(6 * len(plots), 4.5), layout="constrained")
    for axes, (name, plot) in zip(figure.subplots(1, len(plots), squeeze=False)[0], plots, strict=True):
        for curve in plot.curves:
            axes.plot(curve.x, curve.y, marker="o", label=curve.label)
        axes.set_title(name)
        axes.set_xlabel(plot.x_label)
        axes.set_ylabel(plot.y_label)
        axes.set_ylim(bottom=0)
        axes.grid(alpha=0.3)
        axes.legend()
    figure.savefig(path, dpi=120)


def _processor() -> str:
    info = Path("/proc/cpuinfo")
    if info.is_file():
        for line in info.read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()
