"""Which installed plugins are used: all, or those that the setting `plugins` names."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from importlib.metadata import EntryPoint, entry_points

from adapterhub.errors import ConfigError, did_you_mean
from adapterhub.settings import effective, variable

GROUP = "adapterhub"
"""Entry points of methods and the rest; loaded when a verb needs them."""
COMMANDS_GROUP = "adapterhub.commands"
"""Entry points of verbs; these modules import without torch."""
ROUTERS_GROUP = "adapterhub.routers"
"""Entry points of routers; loaded when a server is to use one."""
OBJECTIVES_GROUP = "adapterhub.objectives"
"""Entry points of objectives; loaded to train."""
FORMATS_GROUP = "adapterhub.formats"
"""Entry points of formats of training data; loaded to read some."""
METRICS_GROUP = "adapterhub.metrics"
"""Entry points of metrics; loaded to evaluate."""
GROUPS = (GROUP, COMMANDS_GROUP, ROUTERS_GROUP, OBJECTIVES_GROUP, FORMATS_GROUP, METRICS_GROUP)
VARIABLE = variable("plugins")
"""Names of plugins with commas between: only these are used, and none when it is empty; unset, all are."""
OWN = "adapterhub"
"""The project's own distribution."""


@dataclass(frozen=True)
class Found:
    """The installed plugins of one group, by their entry points."""

    used: tuple[EntryPoint, ...]
    """In the order they are loaded in."""
    switched_off: tuple[str, ...] = ()
    by: str = ""
    """The variable, or the file and key, that switched these off."""


def find(group: str) -> Found:
    """The plugins of one group. Raises ConfigError when the settings name one that is not installed."""
    points = tuple(entry_points(group=group))
    settings, origins = effective()
    if settings.plugins is None:
        return Found(in_order(points))
    wanted, where = set(settings.plugins), origins["plugins"]
    installed = {point.name for each in GROUPS for point in entry_points(group=each)}
    if unknown := sorted(wanted - installed):
        there = ", ".join(sorted(installed)) or "none"
        raise ConfigError(
            f"{where}: no plugin {unknown[0]!r}{did_you_mean(unknown[0], installed)} (installed: {there})",
            field=VARIABLE,
        )
    return Found(
        in_order(point for point in points if point.name in wanted),
        tuple(sorted({point.name for point in points} - wanted)),
        where,
    )


def in_order(points: Iterable[EntryPoint]) -> tuple[EntryPoint, ...]:
    """The project's own first, so that no stranger takes a name of theirs; then by name."""
    return tuple(sorted(points, key=lambda point: (distribution(point)[0] != OWN, point.name)))


def distribution(point: EntryPoint) -> tuple[str, str]:
    """Name and version of the distribution a plugin comes from; empty when it has none."""
    return (point.dist.name, point.dist.version) if point.dist else ("", "")
