"""Finding plugins and what they register.

Every plugin is loaded alone: one that cannot be imported, registers a taken name or implements a
hook that does not exist is recorded with its reason and left out, and the rest works. Hooks are
called once, here; pluggy is never called while serving.
"""

from adapterhub.plugins.blame import blamed_on, refusing
from adapterhub.plugins.commands import load_commands
from adapterhub.plugins.fit import fit, understand
from adapterhub.plugins.found import (
    COMMANDS_GROUP,
    FORMATS_GROUP,
    GROUP,
    METRICS_GROUP,
    OBJECTIVES_GROUP,
    ROUTERS_GROUP,
    VARIABLE,
    Found,
    find,
)
from adapterhub.plugins.methods import Methods, installed_methods, load_methods
from adapterhub.plugins.peft_types import peft_types
from adapterhub.plugins.plans import Plans
from adapterhub.plugins.plugin_status import PluginStatus
from adapterhub.plugins.registry import Registry, load_formats, load_metrics, load_objectives, load_routers

__all__ = [
    "COMMANDS_GROUP",
    "FORMATS_GROUP",
    "GROUP",
    "METRICS_GROUP",
    "OBJECTIVES_GROUP",
    "ROUTERS_GROUP",
    "VARIABLE",
    "Found",
    "Methods",
    "Plans",
    "PluginStatus",
    "Registry",
    "blamed_on",
    "find",
    "fit",
    "installed_methods",
    "load_commands",
    "load_formats",
    "load_methods",
    "load_metrics",
    "load_objectives",
    "load_routers",
    "peft_types",
    "refusing",
    "understand",
]
