"""The routers that plugins register."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from importlib.metadata import EntryPoint

from adapterhub.errors import ConfigError, did_you_mean
from adapterhub.plugins.found import ROUTERS_GROUP, distribution, find, in_order
from adapterhub.plugins.load import load
from adapterhub.plugins.plugin_status import PluginStatus, left_out
from adapterhub.prompt_router import PromptRouter


@dataclass(frozen=True)
class Routers:
    """The registered routers by name, and how each plugin fared."""

    by_name: Mapping[str, PromptRouter]
    plugins: tuple[PluginStatus, ...]
    switched_off: tuple[str, ...] = ()
    """Installed plugins that the settings do not name."""
    switched_off_by: str = ""
    """The setting that does."""

    def get(self, name: str) -> PromptRouter:
        """The router of that name. Raises ConfigError listing the known ones."""
        if name not in self.by_name:
            known = ", ".join(sorted(self.by_name)) or "none"
            raise ConfigError(
                f"router: unknown router {name!r}{did_you_mean(name, self.by_name)} (known: {known})"
                f"{left_out(self.plugins, self.switched_off, self.switched_off_by)}",
                field="router",
            )
        return self.by_name[name]


def load_routers(found: Iterable[EntryPoint] | None = None) -> Routers:
    """Load plugins, all that are installed and used unless given, and collect the routers they register.

    Raises ConfigError when ADAPTERHUB_PLUGINS names a plugin that is not installed.
    """
    installed = find(ROUTERS_GROUP)
    by_name: dict[str, PromptRouter] = {}
    statuses = []
    for point in in_order(installed.used if found is None else found):
        registered: dict[str, PromptRouter] = {}

        def register(router: PromptRouter, into: dict[str, PromptRouter] = registered) -> None:
            if not isinstance(router, PromptRouter):
                raise TypeError(f"{router!r} is no PromptRouter")
            if router.name in by_name or router.name in into:
                raise ValueError(f"router {router.name!r} is already registered")
            into[router.name] = router

        loaded = load(point, "register_routers", register)
        if loaded.error:
            registered.clear()
        by_name.update(registered)
        given = tuple(registered)
        statuses.append(PluginStatus(point.name, *distribution(point), loaded.hooks, routers=given, error=loaded.error))
    return Routers(by_name, tuple(statuses), installed.switched_off if found is None else (), installed.by)
