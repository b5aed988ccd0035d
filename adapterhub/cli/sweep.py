"""`adapterhub train --sweep`: several adapters, ranked."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import click

from adapterhub.cli.config_flags import SPELLED
from adapterhub.cli.output import echo_json, echo_table, printable
from adapterhub.cli.progress import run_progress
from adapterhub.sweep.grid import Sweep
from adapterhub.sweep.outcome import Outcome
from adapterhub.train.settings_file import NAME, read_settings_file

HEADER = ("RANK", "ADAPTER", "LOSS", "BEFORE", "GENERAL TEXT", "PARAMETERS", "SECONDS")


def train_sweep(file: Path, name: str | None, typed: Mapping[str, Any], *, as_json: bool) -> None:
    """Train what a sweep's file says and print it ranked; `typed` settings win over the file's."""
    written = read_settings_file(file, SPELLED)
    named = {} if name is None else {NAME: name}
    sweep = Sweep.of(written | dict(typed) | named, where=str(file))

    from adapterhub.sweep.run import run_sweep

    outcomes = run_sweep(
        sweep, shown=lambda trial: run_progress(trial.ref.partition(":")[2]), done=lambda outcome: _say(outcome)
    )
    made = [outcome for outcome in outcomes if not outcome.reason]
    if as_json:
        echo_json({"name": sweep.name, "trials": [outcome.as_json() for outcome in outcomes]})
    elif made:
        echo_table(HEADER, [_row(rank, outcome) for rank, outcome in enumerate(made, start=1)])
    if not made:
        raise click.exceptions.Exit(1)


def _say(outcome: Outcome) -> None:
    """What cannot wait for the table."""
    if outcome.reason:
        click.echo(f"{outcome.state}: {outcome.trial.ref}: {printable(outcome.reason)}", err=True)
    elif outcome.state == "kept":
        click.echo(f"kept: {outcome.trial.ref} is trained already", err=True)


def _row(rank: int, outcome: Outcome) -> list[str]:
    before = outcome.evaluations.get("validation_loss_before")
    return [
        str(rank),
        outcome.trial.ref,
        f"{outcome.loss:.4f}",
        "" if before is None else f"{before:.4f}",
        "" if outcome.general is None else f"{outcome.general.change:+.2f}",
        f"{outcome.parameters:,}",
        "" if outcome.seconds is None else f"{outcome.seconds:.1f}",
    ]
