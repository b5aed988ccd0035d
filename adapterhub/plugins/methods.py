"""The methods that plugins register."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cache
from importlib.metadata import EntryPoint
from typing import Any

from adapterhub.errors import MethodNotFoundError, UnsupportedAdapterError, did_you_mean
from adapterhub.method import Method
from adapterhub.plugins.found import GROUP, VARIABLE, distribution, find, in_order
from adapterhub.plugins.load import load
from adapterhub.plugins.plugin_status import PluginStatus


@dataclass(frozen=True)
class Methods:
    """The registered methods by name, and how each plugin fared."""

    by_name: Mapping[str, Method[Any]]
    plugins: tuple[PluginStatus, ...]
    switched_off: tuple[str, ...] = ()
    """Installed plugins that ADAPTERHUB_PLUGINS does not name."""

    def get(self, name: str) -> Method[Any]:
        """The method of that name. Raises MethodNotFoundError listing the known ones."""
        if name not in self.by_name:
            known = ", ".join(sorted(self.by_name)) or "none"
            raise MethodNotFoundError(
                f"unknown method {name!r}{did_you_mean(name, self.by_name)} (known: {known}){self._left_out()}",
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
            f"no installed method serves peft_type {peft_type!r} (served: {served}){self._left_out()}"
        )

    def _left_out(self) -> str:
        broken = [f"{plugin.name}: {plugin.error}" for plugin in self.plugins if plugin.error]
        reasons = [f"; broken plugins: {'; '.join(broken)}"] if broken else []
        if self.switched_off:
            reasons.append(f"; switched off by {VARIABLE}: {', '.join(self.switched_off)}")
        return "".join(reasons)


def installed_methods() -> Methods:
    """The methods of the installed plugins that are used, loaded once per process.

    Raises ConfigError when ADAPTERHUB_PLUGINS names a plugin that is not installed.
    """
    return _installed(os.environ.get(VARIABLE))


@cache
def _installed(variable: str | None) -> Methods:
    found = find(GROUP)
    return load_methods(found.used, switched_off=found.switched_off)


def load_methods(found: Iterable[EntryPoint], *, switched_off: tuple[str, ...] = ()) -> Methods:
    """Load plugins from entry points and collect the methods they register."""
    by_name: dict[str, Method[Any]] = {}
    statuses = []
    for point in in_order(found):
        registered: dict[str, Method[Any]] = {}

        def register(method: Method[Any], into: dict[str, Method[Any]] = registered) -> None:
            taken = by_name | into
            if method.name in taken or any(method.peft_type == other.peft_type for other in taken.values()):
                raise ValueError(f"method {method.name!r} ({method.peft_type}) is already registered")
            into[method.name] = method

        loaded = load(point, "register_methods", register)
        if loaded.error:
            registered.clear()
        by_name.update(registered)
        statuses.append(
            PluginStatus(point.name, *distribution(point), loaded.hooks, methods=tuple(registered), error=loaded.error)
        )
    return Methods(by_name, tuple(statuses), switched_off)
