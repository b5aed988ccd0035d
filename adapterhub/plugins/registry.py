"""What plugins register by name, of one kind: routers, objectives, formats, metrics."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from importlib.metadata import EntryPoint
from typing import Any, Generic, TypeVar

from adapterhub.data_format import DataFormat
from adapterhub.errors import ConfigError, did_you_mean
from adapterhub.metric import Metric
from adapterhub.objective import Objective
from adapterhub.plugins.found import (
    FORMATS_GROUP,
    METRICS_GROUP,
    OBJECTIVES_GROUP,
    ROUTERS_GROUP,
    distribution,
    find,
    in_order,
)
from adapterhub.plugins.load import load
from adapterhub.plugins.plugin_status import PluginStatus, left_out
from adapterhub.prompt_router import PromptRouter

T = TypeVar("T", bound=PromptRouter | Objective[Any] | DataFormat | Metric)


@dataclass(frozen=True)
class Registry(Generic[T]):
    """The registered ones by name, and how each plugin fared."""

    kind: str
    """What one of them is called."""
    by_name: Mapping[str, T]
    plugins: tuple[PluginStatus, ...]
    switched_off: tuple[str, ...] = ()
    """Installed plugins that the settings do not name."""
    switched_off_by: str = ""
    """The setting that does."""

    def get(self, name: str) -> T:
        """The one of that name. Raises ConfigError listing the known ones."""
        if name not in self.by_name:
            known = ", ".join(sorted(self.by_name)) or "none"
            raise ConfigError(
                f"{self.kind}: unknown {self.kind} {name!r}{did_you_mean(name, self.by_name)} (known: {known})"
                f"{left_out(self.plugins, self.switched_off, self.switched_off_by)}",
                field=self.kind,
            )
        return self.by_name[name]


def load_routers(found: Iterable[EntryPoint] | None = None) -> Registry[PromptRouter]:
    """As `_load`: what picks an adapter by the prompt."""
    return _load(PromptRouter, "router", ROUTERS_GROUP, found)


def load_objectives(found: Iterable[EntryPoint] | None = None) -> Registry[Objective[Any]]:
    """As `_load`: what training is to reach."""
    return _load(Objective, "objective", OBJECTIVES_GROUP, found)


def load_formats(found: Iterable[EntryPoint] | None = None) -> Registry[DataFormat]:
    """As `_load`: how training data are read."""
    return _load(DataFormat, "format", FORMATS_GROUP, found)


def load_metrics(found: Iterable[EntryPoint] | None = None) -> Registry[Metric]:
    """As `_load`: what scores answers."""
    return _load(Metric, "metric", METRICS_GROUP, found)


def _load(contract: type[T], kind: str, group: str, found: Iterable[EntryPoint] | None) -> Registry[T]:
    """Load plugins, all that are installed and used unless given, and collect what they register.

    Raises ConfigError when ADAPTERHUB_PLUGINS names a plugin that is not installed.
    """
    installed = find(group)
    by_name: dict[str, T] = {}
    statuses = []
    for point in in_order(installed.used if found is None else found):
        registered: dict[str, T] = {}

        def register(one: T, into: dict[str, T] = registered) -> None:
            if not isinstance(one, contract):
                raise TypeError(f"{one!r} is no {contract.__name__}")
            if one.name in by_name or one.name in into:
                raise ValueError(f"{kind} {one.name!r} is already registered")
            into[one.name] = one

        loaded = load(point, f"register_{kind}s", register)
        if loaded.error:
            registered.clear()
        by_name.update(registered)
        given: dict[str, Any] = {f"{kind}s": tuple(registered)}
        statuses.append(PluginStatus(point.name, *distribution(point), loaded.hooks, **given, error=loaded.error))
    return Registry(kind, by_name, tuple(statuses), installed.switched_off if found is None else (), installed.by)
