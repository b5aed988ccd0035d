"""`adapterhub train`: an adapter from examples, published to the store."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from click.core import ParameterSource

from adapterhub.cli.config_flags import FLAGS, PAIRS, config_flags
from adapterhub.cli.ending import INTERRUPTED
from adapterhub.cli.output import echo_json, echo_warning
from adapterhub.cli.progress import run_progress
from adapterhub.cli.run_file import NAME, read_run_file
from adapterhub.cli.stop import stop_on_signal
from adapterhub.cli.training_table import WithTrainingTable
from adapterhub.errors import AdapterHubError, ConfigError, RefError
from adapterhub.settings import effective
from adapterhub.store import AdapterRef, Store
from adapterhub.train.config import TrainConfig
from adapterhub.train.result import RunStopped

if TYPE_CHECKING:
    from adapterhub.train import TrainResult
    from adapterhub.train.run_folder import RunFolder

EXAMPLE = """\
adapterhub train --name team/orders --base smollm2-135m --data orders.jsonl -o r=16 -o lora_alpha=32
adapterhub train --name team/orders:4bit --base smollm2-135m --data orders.jsonl --method qlora --max-steps 200
adapterhub train --name team/orders --resume
adapterhub train --config run.toml --learning-rate 5e-4"""

TYPED = (ParameterSource.COMMANDLINE, ParameterSource.ENVIRONMENT)
"""Where a value comes from that wins over a run's file and its record."""


@click.command("train", cls=WithTrainingTable)
@click.option("--name", "ref", metavar="REF", help="Publish as [namespace/]name[:tag].")
@click.option("--config", "run_file", metavar="PATH", type=click.Path(path_type=Path), help="Settings in a TOML file.")
@click.option("--run-folder", metavar="DIR", type=click.Path(path_type=Path), help="Where checkpoints and logs go.")
@click.option("--resume", is_flag=True, help="Go on with the run of this name, or in this folder.")
@click.option("--restart", is_flag=True, help="Begin anew where an unfinished run could be resumed.")
@config_flags(TrainConfig, required=False)
@click.option("--json-log", is_flag=True, help="Tell the progress as lines of JSON.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@click.pass_context
def command(
    ctx: click.Context,
    /,
    ref: str | None,
    run_file: Path | None,
    run_folder: Path | None,
    resume: bool,
    restart: bool,
    json_log: bool,
    as_json: bool,
    **values: Any,
) -> None:
    """Train an adapter on a frozen base and publish it to the store.

    The data are of any known format (docs/data.md), such as lines of {"prompt": ..., "completion": ...};
    `adapterhub data check` tells what is wrong with them. An option's value may be JSON. Ctrl-C ends the run
    after the step it is at; --resume goes on with it, exactly as if nothing had been.
    """
    if resume and restart:
        raise click.UsageError("--resume and --restart exclude each other", ctx)
    written = read_run_file(run_file) if run_file else {}
    ref = ref or written.pop(NAME, None)
    place = run_folder or (_place(ref) if ref else None)
    if place is None:
        raise click.UsageError(f"missing option '--name'{' or --run-folder' if resume else ''}", ctx)

    from adapterhub.train.run_folder import RunFolder, read_record

    recorded = read_record(place) if resume else {}
    ref = ref or recorded.get("name")
    if not ref:
        raise click.UsageError("missing option '--name'", ctx)
    if AdapterRef.parse(ref).digest:
        raise RefError(f"{ref}: a digest follows from the content; publish under name[:tag]", field="name")
    config = _config(ctx, values, written, recorded.get("settings", {}))
    with RunFolder.open(place, resume=resume, restart=restart, name=ref) as folder:
        result = _train(config, folder, json_log)
        published = _publish(folder.adapter, ref)
        folder.finish(published=str(published))
    _report(published, result, as_json)


def _place(ref: str) -> Path:
    """Where a run of this name works when nobody says where."""
    parsed = AdapterRef.parse(ref)
    return effective().settings.runs / f"{parsed.name}@{parsed.tag}"


def _config(
    ctx: click.Context, values: dict[str, Any], written: dict[str, Any], recorded: dict[str, Any]
) -> TrainConfig:
    """Flags and variables over the run's file over its record over the config file over the defaults."""
    sources = {name: ctx.get_parameter_source(name) for name in values}
    typed = {name: value for name, value in values.items() if sources[name] in TYPED}
    settled = {name: value for name, value in values.items() if sources[name] is ParameterSource.DEFAULT_MAP}
    merged = settled | recorded | written | typed
    for name in PAIRS:
        layers = [settled.get(name, ()), recorded.get(name, {}), written.get(name, {}), typed.get(name, ())]
        merged[name] = {}
        for layer in layers:
            merged[name] |= layer if isinstance(layer, dict) else parse_options(layer)
    for name, field in TrainConfig.model_fields.items():
        if field.is_required() and name not in merged:
            raise click.UsageError(f"missing option '{FLAGS.get(name, f'--{name}')}'", ctx)
    return TrainConfig.load({name: value for name, value in merged.items() if value is not None}, where="train")


def _train(config: TrainConfig, folder: RunFolder, json_log: bool) -> TrainResult:
    from adapterhub.train import train

    before = folder.checkpoints.last()
    try:
        with run_progress(as_lines_of_json=json_log) as watch, stop_on_signal() as stop:
            return train(config, folder.adapter, watch=watch, stop=stop, folder=folder, warn=echo_warning)
    except RunStopped as stopped:
        click.echo(f"{stopped}; nothing was published. Go on with: {_resume(folder)}", err=True)
        raise click.exceptions.Exit(INTERRUPTED) from None
    except AdapterHubError:
        if (last := folder.checkpoints.last()) and last != before:
            click.echo(f"the checkpoint of step {last.step} is kept; --resume goes on from it", err=True)
        raise


def _resume(folder: RunFolder) -> str:
    where = f"--name {folder.name}" if folder.path == _place(folder.name).absolute() else f"--run-folder {folder.path}"
    return f"adapterhub train {where} --resume"


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
    """Into the store; `folder` stays when that fails."""
    try:
        return Store.default().publish(folder, ref)
    except (AdapterHubError, OSError):
        click.echo(f"the trained adapter was not published; it is in {folder}", err=True)
        raise


def _report(published: AdapterRef, result: TrainResult, as_json: bool) -> None:
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
    record = result.adapter.provenance
    figures |= {name: record.data.get(name, 0) if record else 0 for name in ("truncated", "dropped")}
    if as_json:
        echo_json({"ref": published.label, "digest": published.digest, **figures})
        return
    click.echo(f"{figures['steps']} steps, {result.tokens} tokens, {result.tokens_per_second:.0f} tokens/s", err=True)
    if figures["truncated"] or figures["dropped"]:
        click.echo(f"too long: {figures['truncated']} rows cut off, {figures['dropped']} left out", err=True)
    if result.loss_before is not None:
        kept = "" if result.best_step in (None, len(result.losses)) else f", kept from step {result.best_step}"
        click.echo(f"validation loss {result.loss_before:.4f} -> {result.loss_after:.4f}{kept}", err=True)
    click.echo(str(published))
