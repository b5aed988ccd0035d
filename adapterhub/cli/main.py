"""The command line: one module per verb, and the verbs of plugins.

A verb is a module of this package, named as the verb, with a click command called `command`. It is
imported when it is needed, and imports torch only inside its functions.
"""

from __future__ import annotations

import os
import sys
from functools import cached_property
from importlib import import_module
from typing import Any

import click

from adapterhub import __version__
from adapterhub.cli.output import printable
from adapterhub.errors import AdapterHubError
from adapterhub.plugins import COMMANDS_GROUP, VARIABLE, find, load_commands

VERBS = (
    "demo",
    "gc",
    "generate",
    "import",
    "ls",
    "methods",
    "plan",
    "plugins",
    "rm",
    "rollback",
    "show",
    "tag",
    "train",
    "verify",
)

FLAG = "--no-plugins"
INTERRUPTED = 130
"""Exit code of a shell command that Ctrl-C ended."""


class Verbs(click.Group):
    """The built-in verbs and those of plugins. Our errors become one line and their exit code."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return sorted([*VERBS, *self._plugin_verbs])

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in VERBS:
            return self._plugin_verbs.get(cmd_name)
        command: click.Command = import_module(f"adapterhub.cli.{cmd_name}").command
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """As click does; a verb that is not there may be one of a plugin that is switched off."""
        try:
            return super().resolve_command(ctx, args)
        except click.UsageError as error:
            raise click.UsageError(error.message + _switched_off(ctx, args[0]), ctx) from None

    def main(self, *args: Any, **options: Any) -> Any:
        """Around all else: `--help` looks for plugins before there is anything to invoke."""
        try:
            return super().main(*args, **options)
        except AdapterHubError as error:
            click.echo(f"error: {printable(str(error))}", err=True)
            sys.exit(error.exit_code)

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except (KeyboardInterrupt, click.Abort):
            ctx.exit(INTERRUPTED)

    @cached_property
    def _plugin_verbs(self) -> dict[str, click.Command]:
        """Looked for only when no built-in verb is meant; a broken plugin is reported and left out."""
        commands, plugins = load_commands(taken=VERBS)
        for plugin in plugins:
            if plugin.error:
                click.echo(f"warning: plugin {plugin.name} left out: {printable(plugin.error)}", err=True)
        return {str(command.name): command for command in commands}


def _switch_off(ctx: click.Context, option: click.Parameter, given: bool) -> None:
    if given:
        os.environ[VARIABLE] = ""
        ctx.meta[FLAG] = True


def _switched_off(ctx: click.Context, verb: str) -> str:
    """What to say of the plugins with verbs that are switched off, and by what; empty when there are none."""
    off = find(COMMANDS_GROUP).switched_off
    by = f"switched off by {FLAG if FLAG in ctx.meta else VARIABLE}"
    if verb in off:
        return f" The plugin {verb!r} gives it, which is {by}."
    return f" Plugins {by}: {', '.join(off)}." if off else ""


@click.group(cls=Verbs, context_settings={"help_option_names": ["-h", "--help"]})
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
def cli() -> None:
    """Train, store and serve parameter-efficient fine-tuning adapters over one frozen base model."""


def main() -> None:
    """Run the command line and exit."""
    if not sys.stderr.isatty():
        os.environ.setdefault("TQDM_DISABLE", "1")  # the bars of libraries; tqdm reads it when it is imported
    cli(prog_name="adapterhub")
