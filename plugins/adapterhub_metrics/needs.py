"""Packages that only some metrics need."""

from __future__ import annotations

from importlib import import_module
from typing import Any

from adapterhub import ConfigError


def needed(module: str, package: str, *, metric: str) -> Any:
    """The module. Raises ConfigError saying what to install."""
    try:
        return import_module(module)
    except ModuleNotFoundError:
        raise ConfigError(
            f"metric {metric}: needs the package {package}, which is not installed; "
            "run `pip install 'adapterhub[eval]'`",
            field="metric",
        ) from None
