"""The report as one HTML page that needs nothing beside it. All that users and models wrote is escaped."""

from __future__ import annotations

import json
import math
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from adapterhub.report.figures import SMOOTHED_FROM, bars, loss_curves
from adapterhub.report.report import Report
from adapterhub.train.general_change import GeneralChange
from adapterhub.train.questions import LONGEST

MOST_COLUMNS = 12
"""Validations in the table; more of them are thinned out, and all are in the picture."""


def render(report: Report) -> str:
    """`report.html`. The page forbids itself scripts and every request (its Content-Security-Policy)."""
    environment = Environment(
        loader=PackageLoader("adapterhub.report"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {"bytes": byte_text, "shown": _shown}
    general = report.general
    validations = report.validation_losses
    kept = next((point.loss for point in validations if point.step == report.best_step), None)
    return environment.get_template("page.html.template").render(
        report=report,
        curves=loss_curves(report.training_losses, validations, report.best_step),
        smoothed=len(report.training_losses) >= SMOOTHED_FROM,
        shown_validations=validations[:: max(1, -(-len(validations) // MOST_COLUMNS))],
        kept_loss=validations[-1].loss if validations and kept is None else kept,
        general=general,
        ratio=math.exp(min(general.change, 99)) if general else 1,
        forgetting=_compared(general) if general else "",
        evaluation=_table(report.evaluation),
        longest=LONGEST,
        tables=_facts(report),
    )


def _compared(general: GeneralChange) -> Markup:
    values = (("base", general.base), ("with adapter", general.adapter))
    return bars([(name, loss, f"{loss:.3f}") for name, loss in values], "Loss on general text, in nats per token")


def _facts(report: Report) -> dict[str, dict[str, Any]]:
    """Tables of names and values, under their titles."""
    adapter = {"name": report.name, "digest": report.digest, "base": report.base, "base digest": report.base_digest}
    return {
        "Adapter": {name: value for name, value in adapter.items() if value},
        "Settings": {name: value for name, value in report.settings.items() if value is not None},
        "Method": {name: value for name, value in report.options.items() if value not in (None, [], {})},
        "Data": report.data,
        "Versions": report.versions,
    }


def _table(evaluation: dict[str, Any] | None) -> dict[str, Any] | None:
    """An evaluation as cells of text; what a stranger's file lacks is left empty."""
    if evaluation is None:
        return None
    metrics = [str(name) for name in evaluation.get("metrics", ())]
    rows = []
    for row in evaluation.get("rows", ()):
        scores, intervals = row.get("scores", {}), row.get("intervals", {})
        cells = [_score(scores.get(name), intervals.get(name)) for name in metrics]
        tokens = row.get("prompt_tokens")
        rows.append([str(row.get("label", "")), "" if tokens is None else f"{tokens:.1f}", *cells])
    return {
        "header": ["", "prompt tokens", *metrics],
        "rows": rows,
        "verdict": str(evaluation.get("verdict", "")),
        "examples": evaluation.get("examples"),
        "warnings": [str(each) for each in evaluation.get("warnings", ())],
    }


def _score(score: float | None, interval: list[float] | None) -> str:
    if score is None:
        return ""
    ends = "" if not interval else f" ({100 * interval[0]:.1f} to {100 * interval[1]:.1f})"
    return f"{100 * score:.1f}{ends}"


def byte_text(count: int) -> str:
    """Such as `538.1 MB`, in powers of 1000."""
    size, unit = float(count), "B"
    for larger in ("kB", "MB", "GB", "TB"):
        if size < 1000:
            break
        size, unit = size / 1000, larger
    return f"{size:.0f} {unit}" if unit == "B" else f"{size:.1f} {unit}"


def _shown(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
