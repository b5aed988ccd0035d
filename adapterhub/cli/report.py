"""`adapterhub report`: a run's report drawn again, with an evaluation in it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import click

from adapterhub.errors import InvalidInputError
from adapterhub.report import read_report, write_report

EXAMPLE = "adapterhub report runs/orders --evaluation eval.json"


@click.command("report")
@click.argument("folder", type=click.Path(path_type=Path))
@click.option(
    "--evaluation",
    type=click.Path(path_type=Path),
    metavar="PATH",
    help="What `adapterhub eval --json` printed: its table goes into the report.",
)
def command(folder: Path, evaluation: Path | None) -> None:
    """Draw a run's report.html again from its report.json, and print where it is."""
    report = read_report(folder)
    if evaluation is not None:
        report = report.model_copy(update={"evaluation": _evaluation(evaluation)})
    click.echo(str(write_report(report, folder)))


def _evaluation(path: Path) -> dict[str, Any]:
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise InvalidInputError(f"{path}: {error.strerror or error}", field="evaluation") from None
    except (ValueError, RecursionError):
        values = None
    if not isinstance(values, dict) or not isinstance(values.get("rows"), list):
        raise InvalidInputError(f"{path}: not what `adapterhub eval --json` prints", field="evaluation")
    return values
