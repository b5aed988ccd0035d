"""adapterhub: train, store and serve parameter-efficient fine-tuning adapters of any method."""

from adapterhub.errors import ConfigError, UnsupportedAdapterError
from adapterhub.hookspecs import hookimpl
from adapterhub.method import BaseShape, Method, MethodConfig, ModuleShape, Param, Params, Plan, Site
from adapterhub.preset import TrainPreset
from adapterhub.quiet import silence_missing_kernel
from adapterhub.select import Names, by_pattern, check_pattern, select_modules

__all__ = [
    "BaseShape",
    "ConfigError",
    "Method",
    "MethodConfig",
    "ModuleShape",
    "Names",
    "Param",
    "Params",
    "Plan",
    "Site",
    "TrainPreset",
    "UnsupportedAdapterError",
    "by_pattern",
    "check_pattern",
    "hookimpl",
    "select_modules",
]

__version__ = "0.1.0"

silence_missing_kernel()
