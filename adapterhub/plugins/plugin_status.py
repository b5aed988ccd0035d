"""How one plugin fared."""

from __future__ import annotations

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
    error: str = ""
