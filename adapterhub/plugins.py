"""Finding plugins and what they register.

Every plugin is loaded alone: one that cannot be imported, registers a taken name or implements a
hook that does not exist is recorded with its reason and left out, and the rest works. Hooks are
called once, here; pluggy is never called while serving.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from functools import cache
from importlib.metadata import EntryPoint, entry_points
from typing import TYPE_CHECKING, Any

import pluggy

from adapterhub import hookspecs
from adapterhub.errors import MethodNotFoundError, UnsupportedAdapterError, did_you_mean
from adapterhub.method import Method

if TYPE_CHECKING:
    import click

GROUP = "adapterhub"
COMMANDS_GROUP = "adapterhub.commands"


@dataclass(frozen=True)
class PluginStatus:
    """One discovered plugin: `error` is empty when it works."""

    name: str
    distribution: str
    version: str
    error: str = ""


@dataclass(frozen=True)
class Methods:
    """The registered methods by name, and how each plugin fared."""

    by_name: Mapping[str, Method[Any]]
    plugins: tuple[PluginStatus, ...]

    def get(self, name: str) -> Method[Any]:
        """The method of that name. Raises MethodNotFoundError listing the known ones."""
        if name not in self.by_name:
            known = ", ".join(sorted(self.by_name)) or "none"
            raise MethodNotFoundError(
                f"unknown method {name!r}{did_you_mean(name, self.by_name)} (known: {known}){self._broken()}",
                resource=name,
            )
        return self.by_name[name]

    def for_peft_type(self, peft_type: str) -> Method[Any]:
        """The method that serves a `peft_type`. Raises UnsupportedAdapterError listing the served ones."""
        for method in self.by_name.values():
            if method.peft_type == peft_type:
                return method
        served = ", ".join(sorted(method.peft_type for method in self.by_name.values())) or "none"
        raise UnsupportedAdapterError(
            f"no installed method serves peft_type {peft_type!r} (served: {served}){self._broken()}"
        )

    def _broken(self) -> str:
        broken = [f"{plugin.name}: {plugin.error}" for plugin in self.plugins if plugin.error]
        return f"; broken plugins: {'; '.join(broken)}" if broken else ""


@cache
def installed_methods() -> Methods:
    """The methods of all installed plugins, loaded once per process."""
    return load_methods(tuple(entry_points(group=GROUP)))


def load_methods(found: tuple[EntryPoint, ...]) -> Methods:
    """Load plugins from entry points and collect the methods they register."""
    by_name: dict[str, Method[Any]] = {}
    statuses = []
    for point in sorted(found, key=lambda point: point.name):
        registered: dict[str, Method[Any]] = {}

        def register(method: Method[Any], into: dict[str, Method[Any]] = registered) -> None:
            taken = by_name | into
            if method.name in taken or any(method.peft_type == other.peft_type for other in taken.values()):
                raise ValueError(f"method {method.name!r} ({method.peft_type}) is already registered")
            into[method.name] = method

        error = _call(point, "register_methods", register)
        if not error:
            by_name.update(registered)
        statuses.append(_status(point, error))
    return Methods(by_name, tuple(statuses))


def load_commands(
    found: tuple[EntryPoint, ...] | None = None, *, taken: Collection[str] = ()
) -> tuple[list[click.Command], list[PluginStatus]]:
    """The verbs that plugins add to the command line, and how each plugin fared; `taken` verbs are refused."""
    found = tuple(entry_points(group=COMMANDS_GROUP)) if found is None else found
    commands: list[click.Command] = []
    statuses = []
    for point in sorted(found, key=lambda point: point.name):
        added: list[click.Command] = []

        def register(command: click.Command, into: list[click.Command] = added) -> None:
            if command.name in taken or any(command.name == other.name for other in commands + into):
                raise ValueError(f"verb {command.name!r} is already registered")
            into.append(command)

        error = _call(point, "register_commands", register)
        if not error:
            commands.extend(added)
        statuses.append(_status(point, error))
    return commands, statuses


def _call(point: EntryPoint, hook: str, register: object) -> str:
    """Load one plugin and call one of its hooks; the reason when that fails, else an empty string."""
    manager = pluggy.PluginManager("adapterhub")
    manager.add_hookspecs(hookspecs)
    try:
        manager.register(point.load(), name=point.name)
        manager.check_pending()
        getattr(manager.hook, hook)(register=register)
    except (Exception, SystemExit) as error:  # noqa: BLE001  a plugin may raise anything; it is left out
        return f"{type(error).__name__}: {error}"
    return ""


def _status(point: EntryPoint, error: str) -> PluginStatus:
    distribution = point.dist
    name, version = (distribution.name, distribution.version) if distribution else ("", "")
    return PluginStatus(point.name, name, version, error)
