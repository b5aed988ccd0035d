"""`adapterhub plugins`: what is installed; `adapterhub plugins new`: a project to start one from."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path

import click

from adapterhub.cli.output import echo_json, echo_table
from adapterhub.cli.verbs import VERBS
from adapterhub.plugins import (
    COMMANDS_GROUP,
    PluginStatus,
    find,
    installed_methods,
    load_commands,
    load_formats,
    load_metrics,
    load_objectives,
    load_routers,
    peft_types,
)

EXAMPLE = """\
adapterhub plugins
adapterhub plugins new my_method --into ."""
HEADER = ("PLUGIN", "FROM", "HOOKS", "GIVES", "STATUS")


@click.group("plugins", invoke_without_command=True)
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@click.pass_context
def command(ctx: click.Context, as_json: bool) -> None:
    """List the installed plugins, or start a new one.

    A plugin that is broken is left out, and listed with the reason.
    """
    if ctx.invoked_subcommand is not None:
        if as_json:
            raise click.UsageError(f"--json is for the list, not for `{ctx.invoked_subcommand}`")
        return
    _, verbs = load_commands(taken=VERBS)
    methods = installed_methods()
    others = (load_routers(), load_objectives(), load_formats(), load_metrics())
    given = [plugin for other in others for plugin in other.plugins]
    plugins = sorted((*methods.plugins, *verbs, *given), key=lambda plugin: plugin.name)
    if as_json:
        echo_json([asdict(plugin) | {"ok": not plugin.error} for plugin in plugins])
    elif plugins:
        echo_table(HEADER, [_row(plugin) for plugin in plugins])
    else:
        click.echo("no plugins", err=True)
    commands = find(COMMANDS_GROUP)
    if off := sorted(
        {*methods.switched_off, *commands.switched_off, *(name for other in others for name in other.switched_off)}
    ):
        click.echo(f"switched off by {commands.by}: {', '.join(off)}", err=True)


def _row(plugin: PluginStatus) -> tuple[str, ...]:
    given = {
        "method": plugin.methods,
        "verb": plugin.verbs,
        "router": plugin.routers,
        "objective": plugin.objectives,
        "format": plugin.formats,
        "metric": plugin.metrics,
    }
    gives = [f"{kind}{'s' * (len(names) > 1)} {', '.join(names)}" for kind, names in given.items() if names]
    return (
        plugin.name,
        f"{plugin.distribution} {plugin.version}",
        ", ".join(plugin.hooks),
        ", ".join(gives),
        f"broken: {plugin.error}" if plugin.error else "ok",
    )


@command.command("new")
@click.argument("name")
@click.option(
    "--into",
    type=click.Path(exists=True, file_okay=False, writable=True, path_type=Path),
    default=".",
    show_default=True,
    metavar="DIR",
    help="The folder to make the project's folder in.",
)
def new(name: str, into: Path) -> None:
    """Write a project that gives one new method: its file, its test, what packages it.

    NAME is the method's: lower-case letters, digits and underscores. Prints the project's folder.
    """
    from adapterhub.scaffold import write_project

    installed = {method for plugin in installed_methods().plugins for method in plugin.methods}
    taken = installed | {known.lower() for known in peft_types()}
    project = write_project(name, into, taken=taken)
    click.echo(str(project))
    click.echo(f"next: cd {project} && pip install -e '.[test]' && pytest", err=True)
