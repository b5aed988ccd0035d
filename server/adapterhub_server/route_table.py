"""The routes, in one file that outlives the server."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Literal, NamedTuple

from adapterhub.config import Config
from adapterhub.errors import ConfigError, ConflictError, NotFoundError, did_you_mean
from adapterhub.store.durable import write_durably
from adapterhub_server.changed_file import changing
from adapterhub_server.routes import Route
from adapterhub_server.watched_file import WatchedFile

MAX_ROUTES = 4096


class RouteFile(Config):
    """What the file holds."""

    format_version: Literal[1] = 1
    routes: tuple[Route, ...] = ()


class _Routes(NamedTuple):
    by_task: Mapping[str, Route]
    etag: str


class RouteTable:
    """Owns the routes. The file is the truth: a change by another process is seen by the next request. Any thread."""

    def __init__(self, path: Path) -> None:
        """Raises ConfigError when the file is there and is not one of routes, and UnavailableError."""
        self._file = WatchedFile(path, lambda content: _parse(content, path))

    @property
    def etag(self) -> str:
        """Changes with every change of any route."""
        return self._file.value().etag

    def all(self) -> list[Route]:
        """Every route, by task."""
        return list(self._file.value().by_task.values())

    def get(self, task: str) -> Route:
        """Raises NotFoundError naming what is near."""
        routes = self._file.value().by_task
        if task not in routes:
            near = did_you_mean(task, routes)
            raise NotFoundError(f"no route for task {task[:128]!r}{near}", resource=task[:128])
        return routes[task]

    def set(self, route: Route, *, etag: str = "") -> str:
        """Make a route, or replace the task's present one; the new etag. Blocks for the disk.

        Raises ConflictError when the routes' etag is not the one given, ConfigError when there are too many, and
        UnavailableError when the file cannot be written.
        """
        with changing(self._file.path):
            routes = self._expect(etag)
            if route.task not in routes and len(routes) >= MAX_ROUTES:
                raise ConfigError(f"route: {len(routes)} are there, at most {MAX_ROUTES}", field="route")
            return self._write([*(kept for kept in routes.values() if kept.task != route.task), route])

    def delete(self, task: str, *, etag: str = "") -> str:
        """Delete a route; the new etag. Raises NotFoundError, and as `set`."""
        with changing(self._file.path):
            routes = self._expect(etag)
            self.get(task)
            return self._write([route for route in routes.values() if route.task != task])

    def _expect(self, etag: str) -> Mapping[str, Route]:
        routes, now = self._file.value()
        if etag not in ("", now):
            raise ConflictError(f"the routes have changed: their etag is {now}, not {etag[:64]}")
        return routes

    def _write(self, routes: Iterable[Route]) -> str:
        held = RouteFile(routes=tuple(sorted(routes, key=lambda route: route.task)))
        content = json.dumps(held.model_dump(exclude_none=True), indent=2, sort_keys=True) + "\n"
        write_durably(self._file.path, content.encode(), mode=0o644)
        return self.etag


def _parse(content: bytes, path: Path) -> _Routes:
    try:
        values = json.loads(content or b"{}")
    except (ValueError, RecursionError) as error:
        raise ConfigError(f"{path}: not JSON: {error}") from None
    if not isinstance(values, dict):
        raise ConfigError(f"{path}: not a JSON object")
    routes = RouteFile.load(values, where=str(path)).routes
    by_task = {route.task: route for route in sorted(routes, key=lambda route: route.task)}
    return _Routes(by_task, hashlib.sha256(content).hexdigest()[:16])
