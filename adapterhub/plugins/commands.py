"""The verbs that plugins add to the command line."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from importlib.metadata import EntryPoint
from typing import TYPE_CHECKING

from adapterhub.plugins.found import COMMANDS_GROUP, distribution, find, in_order
from adapterhub.plugins.load import load
from adapterhub.plugins.plugin_status import PluginStatus

if TYPE_CHECKING:
    import click


def load_commands(
    found: Iterable[EntryPoint] | None = None, *, taken: Collection[str] = ()
) -> tuple[list[click.Command], list[PluginStatus]]:
    """The verbs, and how each plugin fared; `taken` verbs are refused.

    Raises ConfigError when the settings name a plugin that is not installed.
    """
    commands: list[click.Command] = []
    statuses = []
    for point in in_order(find(COMMANDS_GROUP).used if found is None else found):
        added: list[click.Command] = []

        def register(command: click.Command, into: list[click.Command] = added) -> None:
            if command.name in taken or any(command.name == other.name for other in commands + into):
                raise ValueError(f"verb {command.name!r} is already registered")
            into.append(command)

        loaded = load(point, "register_commands", register)
        if loaded.error:
            added.clear()
        commands.extend(added)
        verbs = tuple(str(command.name) for command in added)
        statuses.append(PluginStatus(point.name, *distribution(point), loaded.hooks, verbs=verbs, error=loaded.error))
    return commands, statuses
