"""The folder of a run: its settings, its log, its checkpoints."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Self

from filelock import FileLock, Timeout

from adapterhub.errors import ConfigError, ConflictError, NotFoundError
from adapterhub.train.checkpoint_folder import CheckpointFolder
from adapterhub.train.config import TrainConfig
from adapterhub.train.disk import replace_text, written
from adapterhub.train.result import Event, as_json

RECORD = "run.json"
LOG = "log.jsonl"
CHECKPOINTS = "checkpoints"
ADAPTER = "adapter"
TENSORBOARD = "tensorboard"
LOCK = ".lock"
OWN = (RECORD, LOG, CHECKPOINTS, ADAPTER, TENSORBOARD, "report.html", "report.json")
"""What a run leaves, and a new one in the same folder replaces."""
PATHS = frozenset(name for name, field in TrainConfig.model_fields.items() if "Path" in str(field.annotation))
"""Settings that name files."""
BY_CONTENT = PATHS | {"base"}
"""Settings whose content is compared in place of their names: they may have been moved meanwhile."""


class RunFolder:
    """One run at work in its folder, which nobody else is at work in."""

    def __init__(self, path: Path, *, resumes: bool, name: str = "") -> None:
        self.path = path
        self.name = name
        """What the adapter is to be published as."""
        self.resumes = resumes
        """Whether it goes on from its last checkpoint, if it has one."""
        self.checkpoints = CheckpointFolder(path / CHECKPOINTS)

    @classmethod
    @contextmanager
    def open(cls, path: Path, *, resume: bool = False, restart: bool = False, name: str = "") -> Iterator[Self]:
        """Begin a run in a folder, or with `resume` go on with the one that is there.

        A run that has ended makes room for the next; one that could be resumed only with `restart`. Raises
        ConflictError for that, for a folder of something else and for one that another process is at work in,
        NotFoundError when there is nothing to resume, and UnavailableError when nothing can be written there.
        """
        path = path.absolute()
        recorded = read_record(path)
        if resume and not recorded:
            raise NotFoundError(f"{path}: no run to resume", resource=str(path))
        with written(path, "the run's folder"):
            path.mkdir(parents=True, exist_ok=True)
            if not recorded and any(each.name not in (*OWN, LOCK) for each in path.iterdir()):
                raise ConflictError(f"{path}: not empty, and not the folder of a run")
            lock = FileLock(path / LOCK)
            try:
                lock.acquire(timeout=0)
            except Timeout:
                raise ConflictError(f"{path}: another process is training there") from None
        try:
            folder = cls(path, resumes=resume, name=name)
            folder._make_room(str(recorded.get("status", "")), restart=restart)
            yield folder
        finally:
            lock.release()

    @property
    def adapter(self) -> Path:
        """Where the trained adapter is put before it is published."""
        return self.path / ADAPTER

    def begin(self, settings: TrainConfig, facts: Mapping[str, Any]) -> None:
        """Record what the run is; of one that is resumed, hold it against the record instead.

        `facts` are what must not change beneath it: digests of data and base. Raises ConfigError naming what did.
        """
        values = settings.model_dump(mode="json")
        named = PATHS | ({"base"} if Path(settings.base).is_dir() else set())
        values |= {name: str(Path(values[name]).absolute()) for name in named if values[name] is not None}
        now = {"status": "running", "name": self.name, "settings": values, "facts": dict(facts)}
        recorded = read_record(self.path)
        if self.resumes and recorded:
            for name, value in recorded["facts"].items():
                if facts.get(name) != value:
                    raise ConfigError(
                        f"{name}: is not what it was when the run began ({facts.get(name)}, then {value}); "
                        "a run is resumed with what it began with",
                        field=name,
                    )
            return
        with written(self.path, RECORD):
            replace_text(self.path / RECORD, json.dumps(now, indent=2))

    def check_settings(self, settings: TrainConfig) -> None:
        """Raises ConfigError naming the first setting of a resumed run that is not what it began with."""
        if not self.resumes:
            return
        recorded = read_record(self.path)["settings"]
        for name, value in settings.model_dump(mode="json").items():
            if name not in BY_CONTENT and value != recorded.get(name):
                raise ConfigError(
                    f"{name}: {value!r} is asked for, the run began with {recorded.get(name)!r}; it is resumed with "
                    "its own settings",
                    field=name,
                )

    def forget_after(self, step: int) -> None:
        """Drop from the log what came after `step`: it is about to happen again."""
        path = self.path / LOG
        lines = path.read_text().splitlines() if path.exists() else []
        kept = [line for line in lines if _step(line) <= step]
        with written(self.path, LOG):
            replace_text(path, "".join(f"{line}\n" for line in kept))

    def log(self, event: Event) -> None:
        """Add an event to the log."""
        with written(self.path, LOG), (self.path / LOG).open("a", encoding="utf-8") as file:
            file.write(json.dumps(as_json(event)) + "\n")

    def finish(self, **facts: Any) -> None:
        """The run is over, and its adapter is where it was to go: of its checkpoints, only the best adapter stays."""
        recorded = read_record(self.path)
        with written(self.path, RECORD):
            replace_text(self.path / RECORD, json.dumps({**recorded, "status": "finished", **facts}, indent=2))
        shutil.rmtree(self.adapter, ignore_errors=True)
        self.checkpoints.clear()

    def _make_room(self, status: str, *, restart: bool) -> None:
        """Take away what an earlier run left, unless it is to go on. Raises ConflictError when it still could."""
        last = self.checkpoints.last()
        if self.resumes:
            if status == "finished":
                raise ConflictError(f"{self.path}: the run there is finished; nothing to resume")
            shutil.rmtree(self.adapter, ignore_errors=True)
            return
        if status == "running" and last and not restart:
            raise ConflictError(
                f"{self.path}: an unfinished run is there, at step {last.step}; --resume goes on with it, "
                "--restart begins anew"
            )
        with written(self.path, "the run's folder"):
            for place in [self.path / name for name in OWN] + list(self.path.glob(f".{ADAPTER}.*")):
                if place.is_dir():
                    shutil.rmtree(place)
                else:
                    place.unlink(missing_ok=True)


def read_record(path: Path) -> dict[str, Any]:
    """What `run.json` of a run's folder says; empty where there is none. Raises ConfigError when it is broken."""
    try:
        found = json.loads((path / RECORD).read_text())
    except (FileNotFoundError, NotADirectoryError):
        return {}
    except (OSError, ValueError) as error:
        raise ConfigError(f"{path / RECORD}: cannot be read: {error}") from None
    if not isinstance(found, dict) or not {"settings", "facts", "status"} <= found.keys():
        raise ConfigError(f"{path / RECORD}: not the record of a run")
    return found


def _step(line: str) -> float:
    """The step of a line of the log; a line that a kill cut in two comes after all."""
    try:
        return float(json.loads(line)["step"])
    except (ValueError, KeyError, TypeError):
        return float("inf")
