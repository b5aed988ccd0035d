"""`adapterhub train`: an adapter from examples, published to the store."""

from __future__ import annotations

import json
import shutil
import tempfile
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from click.core import ParameterSource

from adapterhub.cli.config_flags import FLAGS, config_flags, given
from adapterhub.cli.output import echo_json
from adapterhub.cli.progress import step_progress
from adapterhub.cli.sweep import train_sweep
from adapterhub.errors import AdapterHubError, ConfigError, RefError
from adapterhub.report import Report, write_report
from adapterhub.store import AdapterRef, Store
from adapterhub.train.config import TrainConfig
from adapterhub.train.general_change import GeneralChange

if TYPE_CHECKING:
    from adapterhub.train import TrainResult

EXAMPLE = """\
adapterhub train --name team/orders --base smollm2-135m --data orders.jsonl -o r=16 -o lora_alpha=32
adapterhub train --name team/orders:4bit --base smollm2-135m --data orders.jsonl --method qlora --max-steps 200
adapterhub train --name team/orders --sweep sweep.toml"""

TYPED = (ParameterSource.COMMANDLINE, ParameterSource.ENVIRONMENT)
"""Where a value comes from that wins over a file of settings."""


@click.command("train")
@click.option("--name", "ref", metavar="REF", help="Publish as [namespace/]name[:tag].")
@click.option("--run-folder", metavar="DIR", type=click.Path(path_type=Path), help="Where the report goes.")
@click.option("--sweep", metavar="PATH", type=click.Path(path_type=Path), help="Train all that a TOML file lists.")
@config_flags(TrainConfig, required=False)
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@click.pass_context
def command(
    ctx: click.Context,
    /,
    ref: str | None,
    run_folder: Path | None,
    sweep: Path | None,
    options: tuple[str, ...],
    objective_options: tuple[str, ...],
    as_json: bool,
    **values: str | None,
) -> None:
    """Train an adapter on a frozen base and publish it to the store.

    The data are lines of {"prompt": ..., "completion": ...}. An option's value may be JSON.
    """
    if sweep is not None:
        if options or objective_options:
            raise click.UsageError("with --sweep, options stand in its file", ctx)
        typed = {name: value for name, value in values.items() if ctx.get_parameter_source(name) in TYPED}
        train_sweep(sweep, ref, typed, as_json=as_json)
        return
    for name, value in {"name": ref, **values}.items():
        if value is None and (name == "name" or TrainConfig.model_fields[name].is_required()):
            raise click.UsageError(f"missing option '{FLAGS.get(name, f'--{name}')}'", ctx)
    assert ref is not None
    pairs = {"options": parse_options(options), "objective_options": parse_options(objective_options)}
    config = TrainConfig.load(given(values) | pairs, where="train")
    if AdapterRef.parse(ref).digest:
        raise RefError(f"{ref}: a digest follows from the content; publish under name[:tag]", field="name")

    from adapterhub.train import train

    folder = Path(tempfile.mkdtemp(prefix="adapterhub-train-"))
    try:
        with step_progress() as progress:
            result = train(config, folder, progress=progress)
    except BaseException:
        shutil.rmtree(folder, ignore_errors=True)
        raise
    report = Report.of(result)  # while the files are there
    published = _publish(folder, ref)
    if run_folder is not None:
        write_report(report.model_copy(update={"name": published.label, "digest": published.digest}), run_folder)
    _report(published, result, as_json)


def parse_options(words: Iterable[str]) -> dict[str, Any]:
    """`key=value` words; a value that is JSON is read as such, any other is text."""
    found: dict[str, Any] = {}
    for word in words:
        key, equals, value = word.partition("=")
        if not equals or not key:
            raise ConfigError(f"option: {word!r} is not KEY=VALUE", field="option")
        if key in found:
            raise ConfigError(f"option: {key!r} is given twice", field="option")
        try:
            found[key] = json.loads(value)
        except ValueError:
            found[key] = value
    return found


def _publish(folder: Path, ref: str) -> AdapterRef:
    """Into the store, and out of `folder`, which is kept when that fails."""
    try:
        published = Store.default().publish(folder, ref)
    except (AdapterHubError, OSError):
        click.echo(f"the trained adapter was not published; it is in {folder}", err=True)
        raise
    shutil.rmtree(folder)
    return published


def _report(published: AdapterRef, result: TrainResult, as_json: bool) -> None:
    figures = {
        "steps": len(result.losses),
        "tokens": result.tokens,
        "seconds": round(result.seconds, 3),
        "tokens_per_second": round(result.tokens_per_second, 1),
        "validation_loss_before": result.loss_before,
        "validation_loss_after": result.loss_after,
    }
    general = GeneralChange.of(result.adapter.provenance.forgetting) if result.adapter.provenance else None
    if as_json:
        lost = general.as_json() if general else {}
        echo_json({"ref": published.label, "digest": published.digest, **figures, **lost})
        return
    click.echo(f"{figures['steps']} steps, {result.tokens} tokens, {result.tokens_per_second:.0f} tokens/s", err=True)
    if result.loss_before is not None:
        click.echo(f"validation loss {result.loss_before:.4f} -> {result.loss_after:.4f}", err=True)
    if general is not None:
        click.echo(f"general text: {general}", err=True)
    click.echo(str(published))
