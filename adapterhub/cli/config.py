"""`adapterhub config`: every setting and where it comes from, and the file that keeps them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import click
from click.core import ParameterSource

from adapterhub.cli.config_file import ConfigFile
from adapterhub.cli.main import Verbs
from adapterhub.cli.output import echo_json, echo_table
from adapterhub.cli.parameters import configurable, key
from adapterhub.settings import Settings, config_path, effective

EXAMPLE = """\
adapterhub config show --origin
adapterhub config path
adapterhub config set store /big/disk/adapters
adapterhub config set serve.quantize int8
adapterhub config unset serve.quantize"""

DEFAULT = "default"


@dataclass(frozen=True)
class Shown:
    """One setting as it is now."""

    key: str
    """As in the config file: `store`, or `serve.port`."""
    value: Any
    origin: str
    """`default`, an environment variable's name, or the config file's path."""


@click.group("config")
def command() -> None:
    """Show and change settings.

    They come from a TOML file, over which environment variables win, over which flags win. What is no verb's
    stands at the top of the file and has a variable ADAPTERHUB_<NAME>; a verb's options stand in a table
    named as the verb, and have variables ADAPTERHUB_<VERB>_<OPTION>.
    """


@command.command("show")
@click.option("--all", "everything", is_flag=True, help="Options of verbs too that nothing sets.")
@click.option("--origin", is_flag=True, help="Where each comes from.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON, with origins.")
@click.pass_context
def show(ctx: click.Context, everything: bool, origin: bool, as_json: bool) -> None:
    """Print the settings, and the options of verbs that the file or the environment sets."""
    found = [*_top(), *(each for each in _of_verbs(ctx.find_root()) if everything or each.origin != DEFAULT)]
    if as_json:
        echo_json([asdict(each) for each in found])
        return
    header = ("SETTING", "VALUE", "ORIGIN") if origin else ("SETTING", "VALUE")
    echo_table(header, [(each.key, _text(each.value), each.origin)[: len(header)] for each in found])


@command.command("path")
def path() -> None:
    """Print where the config file is, or would be."""
    click.echo(str(config_path()))


@command.command("set")
@click.argument("name", metavar="KEY")
@click.argument("value")
@click.pass_context
def set_(ctx: click.Context, name: str, value: str) -> None:
    """Write one setting to the config file; its comments stay.

    KEY is `store`, or `serve.port` for a verb's option. VALUE is as in TOML, or text.
    """
    file = ConfigFile.open(config_path())
    file.set(name, value)
    file.save(check=lambda: _check(ctx, file))


@command.command("unset")
@click.argument("name", metavar="KEY")
def unset(name: str) -> None:
    """Remove one setting from the config file."""
    file = ConfigFile.open(config_path())
    file.unset(name)
    file.save()


def _check(ctx: click.Context, file: ConfigFile) -> None:
    """Raises ConfigError when the file, as it would be, has what is not accepted."""
    values = file.values()
    Settings.load({name: each for name, each in values.items() if not isinstance(each, dict)}, where=str(file.path))
    _cli(ctx).sections(ctx.find_root(), values)


def _top() -> Iterator[Shown]:
    settings, origins = effective()
    for name, value in settings.model_dump(mode="json").items():
        yield Shown(name, value, origins.get(name, DEFAULT).removesuffix(f": {name}"))


def _of_verbs(root: click.Context) -> Iterator[Shown]:
    cli = _cli(root)
    root.default_map = dict(cli.sections(root))
    for name in cli.list_commands(root):
        command = cli.get_command(root, name)
        if command is not None:
            yield from _of(command, name, name, root)


def _of(command: click.Command, name: str, section: str, parent: click.Context) -> Iterator[Shown]:
    """The options of one verb, and of those inside it, as click would take them now."""
    ctx = command.make_context(name, [], parent=parent, resilient_parsing=True)
    for option in configurable(command):
        assert option.name
        source = ctx.get_parameter_source(option.name)
        origin = {ParameterSource.ENVIRONMENT: str(option.envvar), ParameterSource.DEFAULT_MAP: str(config_path())}
        value = ctx.params.get(option.name)
        plain = str(value) if isinstance(value, Path) else value
        yield Shown(f"{section}.{key(option)}", plain, origin.get(source, DEFAULT) if source else DEFAULT)
    if isinstance(command, click.Group):
        for inner, each in command.commands.items():
            yield from _of(each, inner, f"{section}.{inner}", ctx)


def _cli(ctx: click.Context) -> Verbs:
    cli = ctx.find_root().command
    assert isinstance(cli, Verbs)
    return cli


def _text(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, list | tuple):
        return ", ".join(map(str, value))
    return str(value).lower() if isinstance(value, bool) else str(value)
