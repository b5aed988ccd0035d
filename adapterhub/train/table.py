"""What goes with what: objectives, methods and the bases they are trained on, as the plugins say it.

`python -m adapterhub.train.table` prints it as docs/objectives.md has it.
"""

from __future__ import annotations

import sys
import textwrap
from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

from adapterhub.method import Method
from adapterhub.objective import Objective
from adapterhub.plugins import Methods, installed_methods, load_objectives
from adapterhub.train.full import FULL
from adapterhub.train.goal import NEEDS_ADAPTER

WIDTH = 100
COLUMN = 24
"""Characters that a column of methods has at least."""


class Trainable(NamedTuple):
    """How a method, or a preset, can be trained."""

    name: str
    held: tuple[str, ...]
    """How the base may be held."""
    refused: Mapping[str, str]
    """Why, by the name of the objective that it is not trained to."""


def trainables(methods: Methods, objectives: Iterable[Objective[Any]]) -> list[Trainable]:
    """Every method and preset that trains, by name, and all of a base."""
    listed = list(objectives)
    names = [*(name for name, method in methods.by_name.items() if method.trained), *methods.presets]
    found = []
    for name in sorted(names):
        preset = methods.for_training(name)
        method = methods.get(preset.method)
        held = method.trained_on if preset.quantization is None else {preset.quantization}
        found.append(Trainable(name, tuple(sorted(held, key=_floating_first)), _refused(method, listed)))
    return [*found, Trainable(FULL, ("none",), {each.name: NEEDS_ADAPTER for each in listed if not each.whole})]


def table(width: int = WIDTH) -> str:
    """The table in lines of so many characters: methods that are trained alike in a row, and why some are not."""
    objectives = sorted(load_objectives().by_name.values(), key=lambda objective: objective.name)
    found = trainables(installed_methods(), objectives)
    names = [objective.name for objective in objectives]
    rows: dict[tuple[str, tuple[bool, ...]], list[str]] = {}
    for each in found:
        marks = tuple(name not in each.refused for name in names)
        rows.setdefault((", ".join(each.held), marks), []).append(each.name)
    widths = [max(3, len(name)) for name in names]
    lines = _row("base held as", map(str.ljust, names, widths), "methods", width)
    for (held, marks), methods in rows.items():
        cells = [("yes" if mark else "no").ljust(width) for mark, width in zip(marks, widths, strict=True)]
        lines += _row(held, cells, ", ".join(methods), width)
    return "\n".join((*lines, *_reasons(found, width)))


def _refused(method: Method[Any], objectives: Iterable[Objective[Any]]) -> dict[str, str]:
    """Asked with each objective's defaults; an option that must be given is not looked at by what asks no options."""
    reasons = {each.name: each.refuses(each.Config.model_construct(), method, None, None) for each in objectives}
    return {name: reason for name, reason in reasons.items() if reason}


def _row(held: str, cells: Iterable[str], methods: str, width: int) -> list[str]:
    """One row in lines: methods stand behind the marks, or below them where there is no room for a column."""
    marks = "  ".join((held.ljust(12), *cells))
    if width - len(marks) < COLUMN:
        return [marks.rstrip(), *textwrap.wrap(methods, width, initial_indent=" " * 4, subsequent_indent=" " * 4)]
    start = f"{marks}  "
    return textwrap.wrap(methods, width, initial_indent=start, subsequent_indent=" " * len(start))


def _reasons(found: Iterable[Trainable], width: int) -> list[str]:
    """Why some are not trained so, each reason once for all objectives that give it."""
    of: dict[tuple[str, str], list[str]] = {}
    for each in found:
        for objective, reason in each.refused.items():
            of.setdefault((each.name, reason), []).append(objective)
    lines = []
    for (method, reason), objectives in sorted(of.items()):
        text = f"no {', '.join(objectives)} of {method}: {reason}"
        lines += textwrap.wrap(text, width, subsequent_indent="  ")
    return lines


def _floating_first(held: str) -> bool:
    return held != "none"


if __name__ == "__main__":
    sys.stdout.write(table() + "\n")
