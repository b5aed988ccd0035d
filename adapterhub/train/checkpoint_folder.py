"""The checkpoints of one run on disk: each is there whole or not at all."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

from adapterhub.train.disk import sync_tree, written

PREFIX = "checkpoint-"
"""As transformers calls them, with the step behind."""
COMPLETE = "complete.json"
"""Written last: the sizes of all files. A checkpoint without it, or with a file of another size, is passed over."""
KEPT = 2
"""The last ones; if the very last does not come whole from the disk, there is one before it."""


class Checkpoint(NamedTuple):
    """One that is whole."""

    step: int
    folder: Path


class CheckpointFolder:
    """Where one run keeps its checkpoints and the best adapter. One process writes at a time."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    @property
    def best(self) -> Path:
        """The file of the adapter as it was after the best validation; not there before the first."""
        return self.folder / "best.safetensors"

    def last(self) -> Checkpoint | None:
        """The whole one of the highest step."""
        return next(iter(self._newest_first()), None)

    def _newest_first(self) -> Iterator[Checkpoint]:
        if not self.folder.is_dir():
            return
        named = (path for path in self.folder.iterdir() if path.name.startswith(PREFIX))
        steps = {int(path.name.removeprefix(PREFIX)): path for path in named if path.name[len(PREFIX) :].isdigit()}
        for step in sorted(steps, reverse=True):
            if _is_whole(steps[step]):
                yield Checkpoint(step, steps[step])

    def clear(self) -> None:
        """Remove all but the best adapter."""
        for old in list(self._newest_first()):
            shutil.rmtree(old.folder, ignore_errors=True)

    def place(self, step: int) -> Path:
        """The folder of the checkpoint of a step."""
        return self.folder / f"{PREFIX}{step}"

    def partial(self, step: int) -> Path:
        """Where the files of that checkpoint go, in a folder of its name, before it is whole."""
        return self.folder / f".writing-{step}"

    @contextmanager
    def writing(self, step: int) -> Iterator[None]:
        """Around writing a checkpoint to `partial`: it is in its place at the end, and gone when that fails.

        Raises UnavailableError when the disk does not take it; those before it stay.
        """
        partial = self.partial(step)
        shutil.rmtree(partial, ignore_errors=True)
        try:
            with written(self.folder, f"the checkpoint of step {step}"):
                self.folder.mkdir(parents=True, exist_ok=True)
                yield
                made = partial / f"{PREFIX}{step}"
                sizes = {str(path.relative_to(made)): path.stat().st_size for path in made.rglob("*") if path.is_file()}
                (made / COMPLETE).write_text(json.dumps(sizes))
                sync_tree(made)
                shutil.rmtree(self.place(step), ignore_errors=True)
                made.rename(self.place(step))
        finally:
            shutil.rmtree(partial, ignore_errors=True)
        for old in list(self._newest_first())[KEPT:]:
            shutil.rmtree(old.folder, ignore_errors=True)


def _is_whole(folder: Path) -> bool:
    try:
        sizes = json.loads((folder / COMPLETE).read_text())
        return all((folder / name).stat().st_size == size for name, size in sizes.items())
    except (OSError, ValueError):
        return False
