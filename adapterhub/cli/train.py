"""`adapterhub train`: an adapter from examples, published to the store."""

from __future__ import annotations

import json
import os
import shutil
import tempfile
from collections.abc import Iterable
from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from adapterhub.cli.config_flags import config_flags, given
from adapterhub.cli.output import echo_json
from adapterhub.cli.progress import step_progress
from adapterhub.errors import AdapterHubError, ConfigError, RefError
from adapterhub.new_folder import new_folder
from adapterhub.store import AdapterRef, Store
from adapterhub.train.config import TrainConfig
from adapterhub.train.full import BYTES_PER_WEIGHT, FULL
from adapterhub.train.processes import Processes

if TYPE_CHECKING:
    from adapterhub.train import TrainResult

EXAMPLE = """\
adapterhub train --name team/orders --base smollm2-135m --data orders.jsonl -o r=16 -o lora_alpha=32
adapterhub train --name team/orders:4bit --base smollm2-135m --data orders.jsonl --method qlora --max-steps 200
adapterhub train --name team/orders:v2 --init-from team/orders --base smollm2-135m --data more_orders.jsonl
adapterhub train --method full --model-folder orders-model --base smollm2-135m --data orders.jsonl"""


@click.command("train")
@click.option("--name", "ref", metavar="REF", help="Publish as [namespace/]name[:tag].")
@click.option(
    "--model-folder",
    type=click.Path(path_type=Path),
    metavar="DIR",
    help="With --method full, in place of --name: write the model to this new folder.",
)
@config_flags(TrainConfig)
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def command(
    ref: str | None,
    model_folder: Path | None,
    options: tuple[str, ...],
    objective_options: tuple[str, ...],
    as_json: bool,
    **values: str | None,
) -> None:
    """Train an adapter on a frozen base and publish it to the store.

    The data are lines of {"prompt": ..., "completion": ...}. An option's value may be JSON. With --method full, all
    of the base learns and a model folder is written: a base of its own, to compare adapters with.
    """
    pairs = {"options": parse_options(options), "objective_options": parse_options(objective_options)}
    os.environ.setdefault("TORCH_CPP_LOG_LEVEL", "ERROR")  # each process notes what it searched for in vain
    config = TrainConfig.load(given(values) | pairs, where="train")
    if config.method == FULL:
        _train_model(config, ref, model_folder, as_json)
        return
    if model_folder is not None:
        raise ConfigError("--model-folder: an adapter goes to the store, by --name; only --method full makes a model")
    if ref is None:
        raise ConfigError("--name: missing; need a name to publish the adapter under", field="name")
    if AdapterRef.parse(ref).digest:
        raise RefError(f"{ref}: a digest follows from the content; publish under name[:tag]", field="name")

    from adapterhub.train import train

    folder = Path(tempfile.mkdtemp(prefix="adapterhub-train-"))
    try:
        with step_progress() if Processes.now().first else nullcontext() as progress:
            result = train(config, folder, progress=progress)
    except BaseException:
        shutil.rmtree(folder, ignore_errors=True)
        raise
    if not Processes.now().first:
        shutil.rmtree(folder)
        return
    published = _publish(folder, ref)
    _report({"ref": published.label, "digest": published.digest}, str(published), result, as_json)


def _train_model(config: TrainConfig, ref: str | None, folder: Path | None, as_json: bool) -> None:
    if ref is not None:
        raise ConfigError("--name: method full makes a model, which is no adapter; give --model-folder", field="name")
    if folder is None:
        raise ConfigError("--model-folder: missing; method full needs a new folder to write the model to")

    from adapterhub.base import EmptyBase
    from adapterhub.train import train

    if not Processes.now().first:
        with tempfile.TemporaryDirectory(prefix="adapterhub-train-") as unused:
            train(config, Path(unused))
        return
    weights = EmptyBase.read(config.base).num_parameters
    click.echo(f"full fine-tuning takes {BYTES_PER_WEIGHT} bytes for each of {weights:,} weights", err=True)
    with new_folder(folder) as partial, step_progress() as progress:
        result = train(config, partial, progress=progress)
    _report({"model": str(folder), "digest": result.model.base.digest}, str(folder), result, as_json)


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


def _report(made: dict[str, str], line: str, result: TrainResult, as_json: bool) -> None:
    figures = {
        "steps": len(result.losses),
        "tokens": result.tokens,
        "seconds": round(result.seconds, 3),
        "tokens_per_second": round(result.tokens_per_second, 1),
        "validation_loss_before": result.loss_before,
        "validation_loss_after": result.loss_after,
    }
    if as_json:
        echo_json({**made, **figures})
        return
    click.echo(f"{figures['steps']} steps, {result.tokens} tokens, {result.tokens_per_second:.0f} tokens/s", err=True)
    if result.loss_before is not None:
        click.echo(f"validation loss {result.loss_before:.4f} -> {result.loss_after:.4f}", err=True)
    click.echo(line)
