"""Loading one plugin and calling one of its hooks."""

from __future__ import annotations

from importlib.metadata import EntryPoint
from typing import NamedTuple

import pluggy

from adapterhub import hookspecs
from adapterhub.errors import PluginError


class Loaded(NamedTuple):
    """What came of it."""

    hooks: tuple[str, ...]
    """The hooks the plugin implements, as far as it could be imported."""
    error: str
    """Why it is left out, else empty."""


def load(point: EntryPoint, hook: str, register: object) -> Loaded:
    """Load one plugin and call `hook` with `register`. Never raises for what the plugin does."""
    manager = pluggy.PluginManager("adapterhub")
    manager.add_hookspecs(hookspecs)
    hooks: tuple[str, ...] = ()
    try:
        module = point.load()
        manager.register(module, name=point.name)
        hooks = tuple(sorted(caller.name for caller in manager.get_hookcallers(module) or ()))
        manager.check_pending()
        if hook not in hooks:
            has = f"has {', '.join(hooks)}" if hooks else "is @hookimpl missing?"
            raise PluginError(f"group {point.group!r} is for plugins that implement {hook} ({has})")
        getattr(manager.hook, hook)(register=register)
    except (Exception, SystemExit) as error:  # noqa: BLE001  a plugin may raise anything; it is left out
        return Loaded(hooks, f"{type(error).__name__}: {error}")
    return Loaded(hooks, "")
