"""Checkpoints of a trainer that a run goes on from exactly, whatever trainer it is."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from safetensors.torch import save_file
from transformers import Trainer

from adapterhub.train.adapter_state import adapter_state, load_state, restore_adapter_state
from adapterhub.train.checkpoint_folder import Checkpoint, CheckpointFolder
from adapterhub.train.course import Course
from adapterhub.train.job import TrainJob

if TYPE_CHECKING:
    Base = Trainer
else:
    Base = object

ADAPTER = "adapter.safetensors"
COURSE = "course.json"


class Checkpoints(Base):
    """Saves what learns in place of the export, and puts a checkpoint where it belongs once it is whole.

    Optimizer, schedule, random generators and the trainer's own state are written by the trainer beside it.
    """

    job: TrainJob
    course: Course
    checkpoints: CheckpointFolder
    _partial: Path | None = None

    def _get_output_dir(self, trial: Any) -> str:
        return super()._get_output_dir(trial) if self._partial is None else str(self._partial)

    def _save_checkpoint(self, model: Any, trial: Any) -> None:
        step = self.state.global_step
        with self.checkpoints.writing(step):
            self._partial = self.checkpoints.partial(step)
            try:
                super()._save_checkpoint(model, trial)
            finally:
                self._partial = None

    def _save(self, output_dir: str | None = None, state_dict: Any = None) -> None:
        folder = Path(output_dir or str(self.args.output_dir))
        folder.mkdir(parents=True, exist_ok=True)
        save_file(adapter_state(self.job, self.model), folder / ADAPTER)
        (folder / COURSE).write_text(json.dumps(self.course.as_json()))

    def _load_from_checkpoint(self, resume_from_checkpoint: str, model: Any = None) -> None:
        state = load_state(Path(resume_from_checkpoint) / ADAPTER)
        restore_adapter_state(self.job, self.model if model is None else model, state)

    def create_model_card(self, *args: Any, **kwargs: Any) -> None:
        """TRL writes one with every checkpoint; an adapter's card is made when it is pushed."""


def course_of(checkpoint: Checkpoint) -> Course:
    """How far the run was when `checkpoint` was written."""
    return Course.from_json(json.loads((checkpoint.folder / COURSE).read_text()))
