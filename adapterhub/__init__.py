"""adapterhub: train, store and serve parameter-efficient fine-tuning adapters of any method."""

from adapterhub.errors import ConfigError
from adapterhub.hookspecs import hookimpl
from adapterhub.method import BaseShape, Method, MethodConfig, ModuleShape, Param, Params, Plan, Site, select_modules
from adapterhub.quiet import silence_missing_kernel

__all__ = [
    "BaseShape",
    "ConfigError",
    "Method",
    "MethodConfig",
    "ModuleShape",
    "Param",
    "Params",
    "Plan",
    "Site",
    "hookimpl",
    "select_modules",
]

__version__ = "0.1.0"

silence_missing_kernel()
