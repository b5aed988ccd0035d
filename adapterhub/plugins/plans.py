"""Plans that were made before."""

from __future__ import annotations

import threading
from collections import deque
from typing import Any, NamedTuple

from adapterhub.method import BaseShape, Method, MethodConfig, Plan

KEPT = 16


class _Made(NamedTuple):
    method: Method[Any]
    config: MethodConfig
    plan: Plan


class Plans:
    """The last few plans on one base, each by a method and its options: adapters that are made alike share one.

    A plan follows from these alone, and to make one takes milliseconds in which no other thread runs. Any thread.
    """

    def __init__(self, shape: BaseShape) -> None:
        self._shape = shape
        self._made: deque[_Made] = deque(maxlen=KEPT)
        self._lock = threading.Lock()

    def of(self, method: Method[Any], config: MethodConfig) -> Plan:
        """Raises as `Method.plan`."""
        with self._lock:
            known = list(self._made)
        for made in known:
            if made.method is method and made.config == config:
                return made.plan
        plan = method.plan(config, self._shape)
        with self._lock:
            self._made.append(_Made(method, config, plan))
        return plan
