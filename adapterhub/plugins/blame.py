"""A plugin's failure becomes an error that names it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from adapterhub.errors import AdapterHubError, PluginError
from adapterhub.method import Method


@contextmanager
def blamed_on(method: Method[Any]) -> Iterator[None]:
    """Whatever a method raises becomes a PluginError that names it; errors of our tree pass."""
    try:
        yield
    except AdapterHubError:
        raise
    except Exception as error:
        raise PluginError(f"method {method.name!r}: {type(error).__name__}: {error}") from error
