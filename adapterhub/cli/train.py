"""`adapterhub train`: an adapter from examples, published to the store; or all of a base, written to a folder."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from adapterhub.cli.config_flags import SPELLED, config_flags
from adapterhub.cli.ending import INTERRUPTED
from adapterhub.cli.output import echo_warning
from adapterhub.cli.progress import run_progress
from adapterhub.cli.stop import stop_on_signal
from adapterhub.cli.sweep import train_sweep
from adapterhub.cli.train_outcome import report_outcome
from adapterhub.cli.train_settings import train_settings, typed_settings
from adapterhub.cli.train_target import Target, run_folder_of, target_of
from adapterhub.cli.training_table import WithTrainingTable
from adapterhub.errors import AdapterHubError, ConfigError
from adapterhub.report import Report, write_report
from adapterhub.train.config import TrainConfig
from adapterhub.train.full import FULL
from adapterhub.train.processes import Processes
from adapterhub.train.result import RunStopped
from adapterhub.train.settings_file import NAME, read_settings_file

if TYPE_CHECKING:
    from adapterhub.train import TrainResult
    from adapterhub.train.run_folder import RunFolder

EXAMPLE = """\
adapterhub train --name team/orders --base smollm2-135m --data orders.jsonl -o r=16 -o lora_alpha=32
adapterhub train --name team/orders:4bit --base smollm2-135m --data orders.jsonl --method qlora --max-steps 200
adapterhub train --name team/orders --resume
adapterhub train --config run.toml --learning-rate 5e-4
adapterhub train --name team/orders --sweep sweep.toml
adapterhub train --name team/orders:v2 --init-from team/orders --base smollm2-135m --data more_orders.jsonl
adapterhub train --method full --model-folder orders-model --base smollm2-135m --data orders.jsonl"""


@click.command("train", cls=WithTrainingTable)
@click.option("--name", metavar="REF", help="Publish as [namespace/]name[:tag].")
@click.option(
    "--model-folder",
    type=click.Path(path_type=Path),
    metavar="DIR",
    help="With --method full, in place of --name: write the model to this new folder.",
)
@click.option("--config", "run_file", metavar="PATH", type=click.Path(path_type=Path), help="Settings in a TOML file.")
@click.option("--run-folder", metavar="DIR", type=click.Path(path_type=Path), help="Where checkpoints and logs go.")
@click.option("--resume", is_flag=True, help="Go on with the run of this name, or in this folder.")
@click.option("--restart", is_flag=True, help="Begin anew where an unfinished run could be resumed.")
@click.option("--sweep", metavar="PATH", type=click.Path(path_type=Path), help="Train all that a TOML file lists.")
@config_flags(TrainConfig, required=False)
@click.option("--json-log", is_flag=True, help="Tell the progress as lines of JSON.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@click.pass_context
def command(
    ctx: click.Context,
    /,
    name: str | None,
    model_folder: Path | None,
    run_file: Path | None,
    run_folder: Path | None,
    resume: bool,
    restart: bool,
    sweep: Path | None,
    json_log: bool,
    as_json: bool,
    **values: Any,
) -> None:
    """Train an adapter on a frozen base and publish it to the store.

    The data are of any known format (docs/data.md), such as lines of {"prompt": ..., "completion": ...};
    `adapterhub data check` tells what is wrong with them. An option's value may be JSON. Ctrl-C ends the run
    after the step it is at; --resume goes on with it, exactly as if nothing had been. With --method full, all of the
    base learns and a model folder is written: a base of its own, to compare adapters with.
    """
    if resume and restart:
        raise click.UsageError("--resume and --restart exclude each other", ctx)
    if sweep is not None:
        train_sweep(sweep, name, typed_settings(ctx, values), as_json=as_json)
        return
    if resume and Processes.now().count > 1:
        raise ConfigError("--resume: a run of several processes leaves no checkpoints; begin anew")
    written = read_settings_file(run_file, SPELLED) if run_file else {}
    name = name or written.pop(NAME, None)
    place = run_folder or (run_folder_of(name) if name else None)
    if place is None and resume:
        raise click.UsageError("missing option '--name' or '--run-folder'", ctx)

    from adapterhub.train.run_folder import read_record

    recorded = read_record(place) if resume and place else {}
    config = train_settings(ctx, values, written, recorded.get("settings", {}))
    if recorded:
        name, model_folder = _as_recorded(config, str(recorded["name"]), name, model_folder)
    target = target_of(config, name, model_folder)
    if not Processes.now().first:
        _train_along(config)
        return
    with _opened(place, target, resume=resume, restart=restart) as folder:
        result = _train(config, target, folder, json_log)
        report = Report.of(result)  # while the files are there
        made = target.deliver(result)
        if folder:
            folder.finish(published=made.line)
            write_report(report.model_copy(update={"name": made.label, "digest": made.facts["digest"]}), folder.path)
    report_outcome(made.facts, made.line, result, as_json)


def _as_recorded(
    config: TrainConfig, recorded: str, name: str | None, model_folder: Path | None
) -> tuple[str | None, Path | None]:
    """Where a resumed run was to deliver, unless it is said anew."""
    if config.method == FULL:
        return name, model_folder or Path(recorded)
    return name or recorded, model_folder


def _opened(
    place: Path | None, target: Target, *, resume: bool, restart: bool
) -> AbstractContextManager[RunFolder | None]:
    from adapterhub.train.run_folder import RunFolder

    place = place or target.run_folder
    return nullcontext() if place is None else RunFolder.open(place, resume=resume, restart=restart, name=target.name)


def _train(config: TrainConfig, target: Target, folder: RunFolder | None, json_log: bool) -> TrainResult:
    from adapterhub.train import train

    os.environ.setdefault("TORCH_CPP_LOG_LEVEL", "ERROR")  # each process notes what it searched for in vain
    target.begin(config)
    before = folder.checkpoints.last() if folder else None
    try:
        with run_progress(as_lines_of_json=json_log) as watch, _stop() as stop:
            into = target.into(folder.path if folder else Path())
            return train(config, into, watch=watch, stop=stop, folder=folder, warn=echo_warning)
    except RunStopped as stopped:
        resume = f" Go on with: {_resume(folder)}" if folder else ""
        click.echo(f"{stopped}; nothing was published.{resume}", err=True)
        raise click.exceptions.Exit(INTERRUPTED) from None
    except AdapterHubError:
        if folder and (last := folder.checkpoints.last()) and last != before:
            click.echo(f"the checkpoint of step {last.step} is kept; --resume goes on from it", err=True)
        raise


def _train_along(config: TrainConfig) -> None:
    """As one of several processes that is not the first: it computes, and neither writes nor prints."""
    from adapterhub.train import train

    os.environ.setdefault("TORCH_CPP_LOG_LEVEL", "ERROR")
    with tempfile.TemporaryDirectory(prefix="adapterhub-train-") as unused:
        train(config, Path(unused))


def _stop() -> AbstractContextManager[Callable[[], bool]]:
    """What asks a run to stop after a step; several processes would not stop after the same one."""
    return stop_on_signal() if Processes.now().count == 1 else nullcontext(lambda: False)


def _resume(folder: RunFolder) -> str:
    by_name = not Path(folder.name).is_absolute() and folder.path == run_folder_of(folder.name).absolute()
    return f"adapterhub train {f'--name {folder.name}' if by_name else f'--run-folder {folder.path}'} --resume"
