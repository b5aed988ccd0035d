"""What an engine counts by how it ended."""

from __future__ import annotations

import threading
from collections import Counter

from adapterhub.errors import AdapterHubError, PluginError


class Tally:
    """Owns the counts of ended loads and of methods that raised. Any thread."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._loads: Counter[type[AdapterHubError] | None] = Counter()
        self._plugin_errors: Counter[str] = Counter()

    def load(self, method: str, error: AdapterHubError | None = None) -> None:
        """A load of an adapter of that method has ended, by `error` if it failed."""
        with self._lock:
            self._loads[type(error) if error else None] += 1
        if isinstance(error, PluginError):
            self.plugin_error(method)

    def plugin_error(self, method: str) -> None:
        """A method has raised: a load failed by it, or a request ended."""
        with self._lock:
            self._plugin_errors[method] += 1

    def loads(self) -> dict[type[AdapterHubError] | None, int]:
        """How many loads ended by each class of errors; None is for those that succeeded."""
        with self._lock:
            return dict(self._loads)

    def plugin_errors(self) -> dict[str, int]:
        """By the method's name."""
        with self._lock:
            return dict(self._plugin_errors)
