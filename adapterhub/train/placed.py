"""What learns in a run, on its base: an adapter, or all of the base."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

from adapterhub.adapter import Adapter
from adapterhub.train.attach import attached
from adapterhub.train.job import TrainJob
from adapterhub.train.provenance import Figures
from adapterhub.train.result import TrainedModel
from adapterhub.train.save import save
from adapterhub.train.start import start_kept
from adapterhub.train.whole import save_model, unfrozen

Save = Callable[[Path, Figures], Adapter | TrainedModel]
"""Writes to a folder what was learned."""


class Placed(NamedTuple):
    """The model that learns, and how what it learned is saved in a folder."""

    model: Any
    save: Save


@contextmanager
def placed(job: TrainJob) -> Iterator[Placed]:
    """As `job` asks for it, where it starts; the base is given back to the bit."""
    if job.adapter is None:
        with unfrozen(job) as model:
            yield Placed(model, partial(save_model, job, model))
        return
    needed = job.method.saves_difference(job.options)
    with attached(job) as adapted, start_kept(adapted, needed=needed) as start:
        yield Placed(adapted, partial(save, job, adapted, start))
