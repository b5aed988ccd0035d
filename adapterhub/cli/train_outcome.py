"""What came of a training run, for the terminal and as JSON."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from adapterhub.cli.output import echo_json
from adapterhub.train.general_change import GeneralChange

if TYPE_CHECKING:
    from adapterhub.train import TrainResult


def report_outcome(made: dict[str, str], line: str, result: TrainResult, as_json: bool) -> None:
    """The figures of a run; `made` and `line` say what it made, as JSON and in a word."""
    figures: dict[str, Any] = {
        "steps": len(result.losses),
        "tokens": result.tokens,
        "seconds": round(result.seconds, 3),
        "tokens_per_second": round(result.tokens_per_second, 1),
        "validation_loss_before": result.loss_before,
        "validation_loss_after": result.loss_after,
        "best_step": result.best_step,
        "peak_bytes": result.peak_bytes,
    }
    record = result.made.provenance
    measured = dict(record.evaluations) if record else {}
    figures |= measured  # of an objective that is no loss, what it measures
    general = GeneralChange.of(record.forgetting) if record else None
    figures |= general.as_json() if general else {}
    figures |= {name: record.data.get(name, 0) if record else 0 for name in ("truncated", "dropped")}
    if as_json:
        echo_json({**made, **figures})
        return
    click.echo(f"{figures['steps']} steps, {result.tokens} tokens, {result.tokens_per_second:.0f} tokens/s", err=True)
    if figures["truncated"] or figures["dropped"]:
        click.echo(f"too long: {figures['truncated']} rows cut off, {figures['dropped']} left out", err=True)
    kept = "" if result.best_step in (None, len(result.losses)) else f", kept from step {result.best_step}"
    for name, after in measured.items():
        if name.endswith("_after") and (before := measured.get(name.replace("_after", "_before"))) is not None:
            what = name.removesuffix("_after").replace("_", " ")
            click.echo(f"{what} {before:.4f} -> {after:.4f}{kept}", err=True)
    if general is not None:
        click.echo(f"general text: {general}", err=True)
    click.echo(line)
