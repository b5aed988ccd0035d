"""Names as labels of metrics: few, whatever clients send."""

from __future__ import annotations

import threading
from collections.abc import Collection

from adapterhub.engine import BLEND
from adapterhub.store.ref import DEFAULT_TAG

OTHER = "other"
MAX_NAMES = 100
"""Adapters that are told apart; those that come later are counted together as `other`."""


class Labels:
    """Owns which adapters are told apart. Any thread."""

    def __init__(self, max_names: int = MAX_NAMES) -> None:
        self._max_names = max_names
        self._lock = threading.Lock()
        self._names: set[str] = set()

    def adapter(self, label: str) -> str:
        """Of an adapter that was found, from its `name:tag`; empty for none."""
        name = short(label)
        with self._lock:
            if name and len(self._names) < self._max_names:
                self._names.add(name)
            return name if not name or name in self._names else OTHER


def short(label: str) -> str:
    """`name` for `name:latest`, as people and gateways write it."""
    return label.removesuffix(f":{DEFAULT_TAG}")


def known(name: str, names: Collection[str]) -> str:
    """A method's name if it is one of those that are served; files may tell any. Blends have their own."""
    return name if name in ("", BLEND) or name in names else OTHER
