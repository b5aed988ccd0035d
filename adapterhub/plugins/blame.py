"""A plugin's failure becomes an error that names it, a refusal one that names the adapter."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from adapterhub.adapter import Adapter
from adapterhub.errors import AdapterHubError, ConfigError, PluginError, UnsupportedAdapterError
from adapterhub.method import Method
from adapterhub.objective import Objective


@contextmanager
def refusing(adapter: Adapter) -> Iterator[None]:
    """Options that cannot be served become an UnsupportedAdapterError that names the adapter."""
    try:
        yield
    except (ConfigError, UnsupportedAdapterError) as error:
        raise UnsupportedAdapterError(f"{adapter.name}: {error}") from None


@contextmanager
def blamed_on(plugged: Method[Any] | Objective[Any]) -> Iterator[None]:
    """Whatever a method or an objective raises becomes a PluginError that names it; errors of our tree pass."""
    try:
        yield
    except AdapterHubError:
        raise
    except Exception as error:
        kind = "method" if isinstance(plugged, Method) else "objective"
        raise PluginError(f"{kind} {plugged.name!r}: {type(error).__name__}: {error}") from error
