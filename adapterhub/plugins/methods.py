"""The methods that plugins register."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from functools import cache
from importlib.metadata import EntryPoint
from typing import Any

from adapterhub.errors import MethodNotFoundError, UnsupportedAdapterError, did_you_mean
from adapterhub.method import Method
from adapterhub.plugins.found import GROUP, distribution, find, in_order
from adapterhub.plugins.load import load
from adapterhub.plugins.peft_types import peft_types
from adapterhub.plugins.plugin_status import PluginStatus, left_out
from adapterhub.preset import TrainPreset
from adapterhub.settings import effective
from adapterhub.unserved import Unserved

Registered = Method[Any] | TrainPreset | Unserved


@dataclass(frozen=True)
class Methods:
    """The registered methods by name, and how each plugin fared."""

    by_name: Mapping[str, Method[Any]]
    plugins: tuple[PluginStatus, ...]
    presets: Mapping[str, TrainPreset] = field(default_factory=dict)
    """Methods trained in a set way, by names that no method has; they serve nothing themselves."""
    unserved: Mapping[str, Unserved] = field(default_factory=dict)
    """By their peft_type: known, and refused with a reason."""
    switched_off: tuple[str, ...] = ()
    """Installed plugins that the settings do not name."""
    switched_off_by: str = ""
    """The variable, or the file and key, that did it."""

    def get(self, name: str) -> Method[Any]:
        """The method of that name. Raises MethodNotFoundError listing the known ones."""
        if refused := self.unserved.get(name.upper()):
            raise MethodNotFoundError(f"method {name!r} is not served: {refused.reason}", resource=name)
        if name not in self.by_name:
            names = sorted((*self.by_name, *self.presets))
            known = ", ".join(names) or "none"
            raise MethodNotFoundError(
                f"unknown method {name!r}{did_you_mean(name, names)} (known: {known}){self._left_out()}",
                resource=name,
            )
        return self.by_name[name]

    def for_training(self, name: str) -> TrainPreset:
        """How `name`, a preset or a method, is trained. Raises MethodNotFoundError listing the known ones."""
        return self.presets.get(name) or TrainPreset(name, method=self.get(name).name)

    def for_peft_type(self, peft_type: str) -> Method[Any]:
        """The method that serves a `peft_type`. Raises UnsupportedAdapterError listing the served ones."""
        for method in self.by_name.values():
            if method.peft_type == peft_type:
                return method
        if refused := self.unserved.get(peft_type):
            raise UnsupportedAdapterError(f"peft_type {peft_type!r} is not served: {refused.reason}")
        served = ", ".join(sorted(method.peft_type for method in self.by_name.values())) or "none"
        raise UnsupportedAdapterError(
            f"no installed method serves peft_type {peft_type!r} (served: {served}){self._left_out()}"
        )

    def _left_out(self) -> str:
        return left_out(self.plugins, self.switched_off, self.switched_off_by)


def installed_methods() -> Methods:
    """The methods of the installed plugins that are used, loaded once per process.

    Raises ConfigError when the settings name a plugin that is not installed.
    """
    return _installed(effective().settings.plugins)


@cache
def _installed(wanted: tuple[str, ...] | None) -> Methods:
    found = find(GROUP)
    return replace(load_methods(found.used), switched_off=found.switched_off, switched_off_by=found.by)


def load_methods(found: Iterable[EntryPoint]) -> Methods:
    """Load plugins from entry points and collect the methods they register."""
    by_name: dict[str, Method[Any]] = {}
    presets: dict[str, TrainPreset] = {}
    unserved: dict[str, Unserved] = {}
    statuses = []
    for point in in_order(found):
        registered: dict[str, Registered] = {}

        def register(found: Registered, into: dict[str, Registered] = registered) -> None:
            _refuse_taken(found, {**by_name, **presets, **unserved, **into})
            into[found.name] = found

        loaded = load(point, "register_methods", register)
        if loaded.error:
            registered.clear()
        by_name.update((name, found) for name, found in registered.items() if isinstance(found, Method))
        presets.update((name, found) for name, found in registered.items() if isinstance(found, TrainPreset))
        unserved.update((found.peft_type, found) for found in registered.values() if isinstance(found, Unserved))
        given = tuple(name for name, found in registered.items() if not isinstance(found, Unserved))
        statuses.append(PluginStatus(point.name, *distribution(point), loaded.hooks, methods=given, error=loaded.error))
    return Methods(by_name, tuple(statuses), presets, unserved)


def _refuse_taken(found: Registered, taken: Mapping[str, Registered]) -> None:
    """Raises ValueError for a name that is taken, and for another's adapters: an installed method's, or PEFT's own."""
    if isinstance(found, TrainPreset):
        if found.name in taken:
            raise ValueError(f"preset {found.name!r}: the name is already registered")
        return
    served = {other.peft_type for other in taken.values() if not isinstance(other, TrainPreset)}
    if found.name in taken or found.peft_type in served:
        raise ValueError(f"method {found.name!r} ({found.peft_type}) is already registered")
    if isinstance(found, Method) and found.in_peft and found.peft_type not in peft_types():
        raise ValueError(f"method {found.name!r}: in_peft = True, but PEFT has no peft_type {found.peft_type}")
    if isinstance(found, Method) and found.peft_type in peft_types() and not found.in_peft:
        raise ValueError(
            f"method {found.name!r}: peft_type {found.peft_type} is PEFT's own; a method that serves what PEFT trains "
            "says in_peft = True, another needs a peft_type of its own"
        )
