"""`adapterhub train`: an adapter from examples, published to the store."""

from __future__ import annotations

import json
import shutil
import tempfile
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from adapterhub.cli.output import echo_json
from adapterhub.cli.progress import step_progress
from adapterhub.config import Config
from adapterhub.errors import AdapterHubError, ConfigError, RefError
from adapterhub.store import AdapterRef, Store
from adapterhub.train.config import TrainConfig

if TYPE_CHECKING:
    from adapterhub.train import TrainResult

FLAGS = {"quantization": "--quantize"}
"""Settings whose flag is not their name."""

Command = Callable[..., None]


def settings(config: type[Config]) -> Callable[[Command], Command]:
    """Adds a flag for every field of `config` but `options`; values are checked there."""

    def add(command: Command) -> Command:
        for name, field in reversed(config.model_fields.items()):
            if name != "options":
                flag = FLAGS.get(name, f"--{name.replace('_', '-')}")
                default = None if field.is_required() or field.default is None else str(field.default)
                command = click.option(
                    flag,
                    name,
                    required=field.is_required(),
                    metavar="VALUE",
                    default=default,
                    show_default=True,
                    help=field.description,
                )(command)
        return click.option(
            "-o", "--option", "options", multiple=True, metavar="KEY=VALUE", help="An option of the method."
        )(command)

    return add


@click.command("train")
@click.option("--name", "ref", required=True, metavar="REF", help="Publish as [namespace/]name[:tag].")
@settings(TrainConfig)
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def command(ref: str, options: tuple[str, ...], as_json: bool, **values: str | None) -> None:
    """Train an adapter on a frozen base and publish it to the store.

    The data are lines of {"prompt": ..., "completion": ...}. An option's value may be JSON.
    """
    config = TrainConfig.load(given(values, options), where="train")
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
    published = _publish(folder, ref)
    _report(published, result, as_json)


def given(values: Mapping[str, str | None], options: Iterable[str]) -> dict[str, Any]:
    """What the flags of `settings` say, for a config to check."""
    return {name: value for name, value in values.items() if value is not None} | {"options": parse_options(options)}


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
    if as_json:
        echo_json({"ref": published.label, "digest": published.digest, **figures})
        return
    click.echo(f"{figures['steps']} steps, {result.tokens} tokens, {result.tokens_per_second:.0f} tokens/s", err=True)
    if result.loss_before is not None:
        click.echo(f"validation loss {result.loss_before:.4f} -> {result.loss_after:.4f}", err=True)
    click.echo(str(published))
