"""The command line: one module per verb, and the verbs of plugins.

A verb is a module of this package, named as the verb, with a click command called `command`. It is
imported when it is needed, and imports torch only inside its functions.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from functools import cached_property
from typing import Any

import click
from click.shell_completion import add_completion_class

from adapterhub import __version__
from adapterhub.cli.bash import ColonBash
from adapterhub.cli.ending import DEBUG_VARIABLE, ending, until_reader_leaves
from adapterhub.cli.output import printable
from adapterhub.cli.parameters import defaults, prepare
from adapterhub.cli.verbs import GROUPS, OTHERS, VERBS, built_in
from adapterhub.errors import ConfigError, did_you_mean
from adapterhub.plugins import COMMANDS_GROUP, VARIABLE, find, load_commands
from adapterhub.settings import Settings, config_path, read_config

FLAG = "--no-plugins"
WITHOUT_FILE = frozenset({"config", "doctor"})
"""Verbs that no section of the config file is for: they tell what is wrong with it."""
HELP_LIMIT = 200
"""Characters of a verb's line in the help: its first sentence, never cut to fit."""


class Verbs(click.Group):
    """The built-in verbs and those of plugins, with their sections of the config file."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        there = [*VERBS, *self._plugin_verbs]
        grouped = [verb for verbs in GROUPS.values() for verb in verbs if verb in there]
        return grouped + sorted(set(there) - set(grouped))

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        command = built_in(cmd_name) if cmd_name in VERBS else self._plugin_verbs.get(cmd_name)
        if command is not None:
            prepare(command, cmd_name)
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """As click does, with the verb's section of the config file as its defaults."""
        try:
            name, command, rest = super().resolve_command(ctx, args)
        except click.UsageError as error:
            raise click.UsageError(self._unknown(ctx, args[0]) or error.message, ctx) from None
        if command is not None and not ctx.resilient_parsing and name not in WITHOUT_FILE:
            ctx.default_map = {str(name): self.sections(ctx, only=str(name)).get(str(name), {})}
        return name, command, rest

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """The verbs under their headings, each with the first sentence of its help."""
        listed = {name: self.get_command(ctx, name) for name in self.list_commands(ctx)}
        rows = {name: each.get_short_help_str(HELP_LIMIT) for name, each in listed.items() if each and not each.hidden}
        width = max(map(len, rows))
        headings = {verb: heading for heading, verbs in GROUPS.items() for verb in verbs}
        for heading in (*GROUPS, OTHERS):
            if under := [(f"{name:{width}}", rows[name]) for name in rows if headings.get(name, OTHERS) == heading]:
                with formatter.section(heading):
                    formatter.write_dl(under)

    def main(self, *args: Any, **options: Any) -> Any:
        """Around all else: `--help` looks for plugins before there is anything to invoke."""
        with ending():
            code = super().main(*args, **options | {"standalone_mode": False})
        sys.exit(code or 0)

    def make_context(self, *args: Any, **options: Any) -> click.Context:
        with until_reader_leaves():  # here `--help` prints
            return super().make_context(*args, **options)

    def invoke(self, ctx: click.Context) -> None:
        """What a verb returns is nobody's exit code."""
        with until_reader_leaves():
            super().invoke(ctx)

    def sections(
        self, ctx: click.Context, values: Mapping[str, Any] | None = None, *, only: str | None = None
    ) -> dict[str, dict[str, Any]]:
        """The tables of the config file, or of `values`, as click takes them; with `only`, that verb's.

        Raises ConfigError for a section of no verb, an unknown key and a value of the wrong type. The section of a
        verb whose plugin is switched off or broken is passed over.
        """
        path = config_path()
        values = read_config(path) if values is None else values
        tables = {name: table for name, table in values.items() if isinstance(table, dict)}
        found = {}
        for name, table in tables.items():
            if name in WITHOUT_FILE or (command := self.get_command(ctx, name)) is None:
                if name not in WITHOUT_FILE and _verbs_are_missing():
                    continue
                known = sorted(set(self.list_commands(ctx)) - WITHOUT_FILE)
                near = did_you_mean(name, [*known, *Settings.model_fields])
                raise ConfigError(f"{path}: [{name}]: no such verb{near} (known: {', '.join(known)})", field=name)
            if only in (None, name):
                found[name] = defaults(command, table, path, name)
        return found

    def _unknown(self, ctx: click.Context, verb: str) -> str:
        """What to say of a verb that is not there; empty when it is an option."""
        if verb.startswith("-"):
            return ""
        return f"no verb {verb!r}{_switched_off(ctx, verb, near=did_you_mean(verb, self.list_commands(ctx)))}"

    @cached_property
    def _plugin_verbs(self) -> dict[str, click.Command]:
        """Looked for only when no built-in verb is meant; a broken plugin is reported and left out."""
        commands, plugins = load_commands(taken=VERBS)
        for plugin in plugins:
            if plugin.error:
                click.echo(f"warning: plugin {plugin.name} left out: {printable(plugin.error)}", err=True)
        return {str(command.name): command for command in commands}


def _verbs_are_missing() -> bool:
    """Whether a plugin with verbs is switched off or broken: a section of the config file may be for one of them."""
    return bool(find(COMMANDS_GROUP).switched_off) or any(each.error for each in load_commands(taken=VERBS)[1])


def _switch_off(ctx: click.Context, option: click.Parameter, given: bool) -> None:
    if given:
        os.environ[VARIABLE] = ""
        ctx.meta[FLAG] = True


def _show_tracebacks(ctx: click.Context, option: click.Parameter, given: bool) -> None:
    if given:
        os.environ[DEBUG_VARIABLE] = "1"


def _switched_off(ctx: click.Context, verb: str, *, near: str) -> str:
    """What to say of a verb that is not there: by what the plugin that gives it is switched off, else what is near."""
    found = find(COMMANDS_GROUP)
    by = f"switched off by {FLAG if FLAG in ctx.meta else found.by}"
    if verb in found.switched_off:
        return f"; the plugin {verb!r} gives it, which is {by}"
    return near + (f"; plugins {by}: {', '.join(found.switched_off)}" if found.switched_off else "")


@click.group("adapterhub", cls=Verbs, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="adapterhub")
@click.option(
    FLAG,
    is_flag=True,
    is_eager=True,
    expose_value=False,
    callback=_switch_off,
    help=f"Use no plugin, as with {VARIABLE}= in the environment; {VARIABLE}=a,b uses these only. "
    "The built-in methods and the verb `serve` are plugins too.",
)
@click.option(
    "--debug",
    is_flag=True,
    is_eager=True,
    expose_value=False,
    callback=_show_tracebacks,
    help=f"Show the traceback of an error, as with {DEBUG_VARIABLE}=1 in the environment.",
)
def cli() -> None:
    """Train, store and serve parameter-efficient fine-tuning adapters over one frozen base model."""


def main() -> None:
    """Run the command line and exit."""
    if not sys.stderr.isatty():
        os.environ.setdefault("TQDM_DISABLE", "1")  # the bars of libraries; tqdm reads it when it is imported
    add_completion_class(ColonBash)
    cli(prog_name="adapterhub")
