"""Which verbs there are, in the groups that `--help` and the docs show them in."""

from __future__ import annotations

from importlib import import_module

import click

GROUPS = {
    "Train": ("demo", "plan", "data", "train", "report", "eval"),
    "Adapters": ("ls", "show", "diff", "rm", "tag", "rollback", "import", "export", "merge"),
    "Hub": ("push", "pull", "outdated"),
    "Serve": ("serve", "generate", "chat", "batch", "ps", "load", "unload", "route", "keys"),
    "Tools": ("methods", "plugins", "doctor", "config", "gc", "verify", "completion"),
}
"""Heading -> its verbs, in order."""
OTHERS = "Plugins"
"""Heading of the verbs that no group names."""
ABOVE = frozenset({"serve", "keys"})
"""Verbs with a place in a group that come by an entry point, as they live above the command line's floor."""
VERBS = tuple(verb for verbs in GROUPS.values() for verb in verbs if verb not in ABOVE)
"""The built-in verbs: each is a module of this package that holds a click command called `command`."""


def built_in(verb: str) -> click.Command:
    """A built-in verb, imported now."""
    command: click.Command = import_module(f"adapterhub.cli.{verb}").command
    return command
