"""`adapterhub data`: training data looked at before training; `data check` tells what is wrong with them."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from adapterhub.cli.config_flags import config_flags, given
from adapterhub.cli.histogram import echo_histogram
from adapterhub.cli.output import echo_json, echo_record, printable
from adapterhub.data.check_config import CheckConfig
from adapterhub.errors import InvalidInputError

if TYPE_CHECKING:
    from adapterhub.data import DataReport
    from adapterhub.data.measure import Tokens
    from adapterhub.data.report import FileReport

EXAMPLE = """\
adapterhub data check orders.jsonl --base smollm2-135m
adapterhub data check train.parquet --validation val.parquet --objective dpo --json
adapterhub data check hf:org/name@v1.0:main/train"""


@click.group("data")
def command() -> None:
    """Look at training data before training."""


@command.command("check")
@click.argument("data", type=click.Path(path_type=Path))
@config_flags(CheckConfig)
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@click.pass_context
def check(ctx: click.Context, /, data: Path, as_json: bool, **values: str | None) -> None:
    """Tell how much there is in DATA, how long it is, and what is wrong with it.

    DATA is a file (.jsonl, .json, .csv, .parquet) or hf:org/name[@revision][:[config/]split]. Errors stop training;
    warnings are printed when it starts. Ends with 2 when there are errors.
    """
    config = CheckConfig.load(given(values), where="data check")
    if config.system_prompt is not None and config.base is None:
        raise InvalidInputError("system_prompt: needs a base, whose chat template it is for", field="system_prompt")
    from adapterhub.data import check_data
    from adapterhub.plugins import load_objectives

    report = check_data(
        data,
        validation=config.validation,
        format_name=config.format,
        objective=load_objectives().get(config.objective) if config.objective else None,
        tokens=_tokens(config) if config.base else None,
        max_length=config.max_length,
    )
    if as_json:
        echo_json(report.as_json() | {"base": config.base})
    else:
        _print(report)
    if report.errors:
        ctx.exit(InvalidInputError.exit_code)


def _tokens(config: CheckConfig) -> Tokens:
    """Counts the tokens of a record as training with the base has them."""
    from adapterhub.base import load_tokenizer, resolve_base
    from adapterhub.data.measure import Tokens
    from adapterhub.prompt_format import PromptFormat

    tokenizer = load_tokenizer(resolve_base(str(config.base), weights=False).path)
    tokenizer.model_max_length = 10**9  # what is too long is told by us, and not by a warning
    kind = config.prompt_format or ("chat" if tokenizer.chat_template else "raw")
    return Tokens(tokenizer, PromptFormat.of(tokenizer, kind, config.system_prompt))


def _print(report: DataReport) -> None:
    for file in report.files:
        _print_file(file, report.max_length)
    listed = [finding for finding in report.findings if finding.severity == "error"]
    for finding in listed:
        click.echo(f"error: {printable(finding.message)}")
    if hidden := report.errors - len(listed):
        click.echo(f"error: {_counted(hidden, 'more error')}")
    for finding in report.findings[len(listed) :]:
        click.echo(f"warning: {printable(finding.message)}")
    click.echo(f"{_counted(report.errors, 'error')}, {_counted(report.warnings, 'warning')}")


def _print_file(file: FileReport, max_length: int) -> None:
    dataset, lengths = file.dataset, file.lengths
    told = {"format": dataset.format, "records": len(dataset.records), "sha256": dataset.sha256}
    if lengths is not None:
        told["length"] = (
            f"{lengths.least} to {lengths.most} {lengths.unit}, half up to {lengths.median}, 90% up to {lengths.p90}, "
            f"99% up to {lengths.p99}; {lengths.total} in all"
        )
    if file.over is not None and dataset.records:
        told["too long"] = f"{file.over} over {max_length} tokens ({file.over / len(dataset.records):.1%})"
    click.echo(printable(dataset.source))
    echo_record(told, indent="  ")
    if lengths is not None:
        echo_histogram(lengths)


def _counted(number: int, what: str) -> str:
    return f"{number} {what}{'s' * (number != 1)}"
