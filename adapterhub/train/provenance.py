"""How what was trained came to be, for its record."""

from __future__ import annotations

import hashlib
from datetime import UTC, datetime
from importlib.metadata import version
from typing import Any, NamedTuple

from adapterhub.adapter import Provenance
from adapterhub.train.job import TrainJob

LIBRARIES = ("adapterhub", "bitsandbytes", "peft", "torch", "transformers", "trl")
UNRECORDED = frozenset(
    (
        "base",
        "data",
        "format",
        "init_from",
        "method",
        "objective",
        "objective_options",
        "options",
        "probe",
        "prompt_format",
        "quantization",
        "replay",
        "replay_share",
        "samples",
        "system_prompt",
        "validation",
    )
)
"""Settings that are recorded elsewhere, or are paths of this machine."""


class Figures(NamedTuple):
    """What was measured of a run, for the record."""

    steps: int
    best_step: int | None
    """After which of them the adapter was as it is saved; None where validation did not choose."""
    evaluations: dict[str, float]
    forgetting: dict[str, float]


def recorded_settings(job: TrainJob) -> dict[str, Any]:
    """What a record says of how the run was asked for, besides its data and base.

    Of the method's options a digest: PEFT writes those that it resolved, and they may name a path of this machine.
    """
    settings = job.config.model_dump(mode="json", exclude=set(UNRECORDED))
    preset = {"preset": job.preset.name} if job.preset.name != job.preset.method else {}
    chosen = job.goal.objective.record(job.goal.options)
    goal = {"objective_options": chosen} if chosen else {}
    options = hashlib.sha256(job.options.model_dump_json().encode()).hexdigest() if job.adapter else ""
    return {"objective": job.goal.objective.name, **goal, **preset, **settings, "options_sha256": options}


def provenance(job: TrainJob, figures: Figures) -> Provenance:
    """Of the adapter, or of the base, that `job` trained."""
    parent = job.adapter.parent if job.adapter else None
    best = {} if figures.best_step is None else {"best_step": figures.best_step}
    return Provenance(
        method=job.preset.method,
        base=job.base.record,
        quantization=job.base.quantization,
        prompt_format=job.prompt_format,
        prompt_signature=job.prompt_signature,
        data=job.data | {"general_text": job.probe.digest},
        training={"steps": figures.steps, **best, **recorded_settings(job)},
        seeds={"training": job.config.seed},
        evaluations=figures.evaluations,
        forgetting=figures.forgetting,
        parents=(str(parent.ref),) if parent else (),
        versions={name: version(name) for name in LIBRARIES},
        created=datetime.now(UTC).isoformat(timespec="seconds"),
    )
