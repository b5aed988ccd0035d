"""What came of a training run, for the terminal and as JSON."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from adapterhub.cli.output import echo_json

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
    figures |= {name: record.data.get(name, 0) if record else 0 for name in ("truncated", "dropped")}
    if as_json:
        echo_json({**made, **figures})
        return
    click.echo(f"{figures['steps']} steps, {result.tokens} tokens, {result.tokens_per_second:.0f} tokens/s", err=True)
    if figures["truncated"] or figures["dropped"]:
        click.echo(f"too long: {figures['truncated']} rows cut off, {figures['dropped']} left out", err=True)
    if result.loss_before is not None:
        kept = "" if result.best_step in (None, len(result.losses)) else f", kept from step {result.best_step}"
        click.echo(f"validation loss {result.loss_before:.4f} -> {result.loss_after:.4f}{kept}", err=True)
    click.echo(line)
