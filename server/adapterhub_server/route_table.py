"""The routes, in one file that outlives the server."""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Literal

from filelock import FileLock, Timeout

from adapterhub.config import Config
from adapterhub.errors import (
    AdapterHubError,
    ConfigError,
    ConflictError,
    NotFoundError,
    UnavailableError,
    did_you_mean,
)
from adapterhub.store.durable import write_durably
from adapterhub_server.routes import Route

log = logging.getLogger(__name__)

MAX_ROUTES = 4096
LOCK_SECONDS = 10.0


class RouteFile(Config):
    """What the file holds."""

    format_version: Literal[1] = 1
    routes: tuple[Route, ...] = ()


class RouteTable:
    """Owns the routes. The file is the truth: it is read again when it has changed, whoever changed it.

    A file that cannot be read leaves the routes as they were, and is told in the log. Any thread may read.
    """

    def __init__(self, path: Path) -> None:
        """Raises ConfigError when the file is there and is not one of routes, and UnavailableError."""
        self._path = path
        self._routes: Mapping[str, Route] = {}
        self._etag = ""
        self._stamp = _stamp(path)
        try:
            self._read()
        except OSError as error:
            raise UnavailableError(f"{path}: {error.strerror}") from None

    @property
    def etag(self) -> str:
        """Changes with every change of any route."""
        self._look()
        return self._etag

    def all(self) -> list[Route]:
        """Every route, by task."""
        self._look()
        return [self._routes[task] for task in sorted(self._routes)]

    def get(self, task: str) -> Route:
        """Raises NotFoundError naming what is near."""
        self._look()
        if task not in self._routes:
            near = did_you_mean(task, self._routes)
            raise NotFoundError(f"no route for task {task[:128]!r}{near}", resource=task[:128])
        return self._routes[task]

    def set(self, route: Route, *, etag: str = "") -> str:
        """Make a route, or replace the task's present one; the new etag. Blocks for the disk.

        Raises ConflictError when the routes' etag is not the one given, ConfigError when there are too many, and
        UnavailableError when the file cannot be written.
        """
        with self._changing(etag):
            if route.task not in self._routes and len(self._routes) >= MAX_ROUTES:
                raise ConfigError(f"route: {len(self._routes)} are there, at most {MAX_ROUTES}", field="route")
            return self._write({**self._routes, route.task: route})

    def delete(self, task: str, *, etag: str = "") -> str:
        """Delete a route; the new etag. Raises NotFoundError, and as `set`."""
        with self._changing(etag):
            self.get(task)
            return self._write({name: route for name, route in self._routes.items() if name != task})

    @contextmanager
    def _changing(self, etag: str) -> Iterator[None]:
        """Hold the file's lock, with the routes as they are in the file now."""
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            with FileLock(self._path.with_suffix(".lock"), timeout=LOCK_SECONDS):
                self._look()
                if etag not in ("", self._etag):
                    raise ConflictError(f"the routes have changed: their etag is {self._etag}, not {etag[:64]}")
                yield
        except Timeout:
            raise UnavailableError(f"{self._path}: held by another process for {LOCK_SECONDS:.0f} s") from None
        except OSError as error:
            raise UnavailableError(f"{self._path}: cannot be written: {error.strerror}") from None

    def _write(self, routes: Mapping[str, Route]) -> str:
        held = RouteFile(routes=tuple(routes[task] for task in sorted(routes)))
        write_durably(self._path, (json.dumps(held.model_dump(), indent=2, sort_keys=True) + "\n").encode(), mode=0o644)
        self._look()
        return self._etag

    def _look(self) -> None:
        """Read the file again when it is another than before."""
        stamp = _stamp(self._path)
        if stamp == self._stamp:
            return
        self._stamp = stamp
        try:
            self._read()
        except (AdapterHubError, OSError) as error:
            log.error("the routes stay as they were: %s", error)

    def _read(self) -> None:
        content = self._path.read_bytes() if self._stamp else b"{}"
        try:
            values = json.loads(content)
        except (ValueError, RecursionError) as error:
            raise ConfigError(f"{self._path}: not JSON: {error}") from None
        if not isinstance(values, dict):
            raise ConfigError(f"{self._path}: not a JSON object")
        routes = RouteFile.load(values, where=str(self._path)).routes
        self._routes = {route.task: route for route in routes}
        self._etag = hashlib.sha256(content).hexdigest()[:16]


def _stamp(path: Path) -> tuple[int, int, int] | None:
    """Another for another file; None when there is none."""
    try:
        status = path.stat()
    except FileNotFoundError:
        return None
    return status.st_mtime_ns, status.st_size, status.st_ino
