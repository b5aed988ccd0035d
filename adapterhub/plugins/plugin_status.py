"""How one plugin fared."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class PluginStatus:
    """One discovered plugin: `error` is empty when it works."""

    name: str
    """Of its entry point."""
    distribution: str
    """The installed project it comes from."""
    version: str
    hooks: tuple[str, ...] = ()
    """The hooks it implements; empty when it could not be imported."""
    methods: tuple[str, ...] = ()
    """The methods, and presets to train them by, that it registered."""
    verbs: tuple[str, ...] = ()
    """The verbs it added to the command line."""
    routers: tuple[str, ...] = ()
    """The routers it registered."""
    objectives: tuple[str, ...] = ()
    """The objectives it registered."""
    formats: tuple[str, ...] = ()
    """The formats of training data it registered."""
    metrics: tuple[str, ...] = ()
    """The metrics it registered."""
    error: str = ""


def left_out(plugins: Sequence[PluginStatus], switched_off: Sequence[str], by: str) -> str:
    """What to add to the error about something that no plugin gives: it may be of one that is not used."""
    reasons = []
    if broken := [f"{plugin.name}: {plugin.error}" for plugin in plugins if plugin.error]:
        reasons.append(f"; broken plugins: {'; '.join(broken)}")
    if switched_off:
        reasons.append(f"; switched off by {by}: {', '.join(switched_off)}")
    return "".join(reasons)
