"""A trained adapter as files: PEFT's layout and our record beside it."""

from __future__ import annotations

import hashlib
import json
import warnings
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any, NamedTuple

from peft import PeftModel

from adapterhub.adapter import CARD_FILE, CONFIG_FILE, PROVENANCE_FILE, Adapter, Provenance, read_folder, write_json
from adapterhub.peft.portable import portable
from adapterhub.train.job import TrainJob

LIBRARIES = ("adapterhub", "bitsandbytes", "peft", "torch", "transformers")
UNRECORDED = frozenset(
    (
        "base",
        "data",
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
    evaluations: dict[str, float]
    forgetting: dict[str, float]


def save(job: TrainJob, model: PeftModel, into: Path, *, start: Path | None, figures: Figures) -> Adapter:
    """Write the adapter on `model` to folder `into`, and read it back as serving will, checked against its plan.

    `start` is the adapter as it started, where that was not nothing: PEFT then saves the difference,
    an adapter of twice the rank on the original base.
    """
    config: Any = model.peft_config["default"]
    if getattr(config, "tokenizer_name_or_path", None):
        config.tokenizer_name_or_path = job.base.record.id
    model.eval()  # PEFT's prompt encoders compute what is saved: without dropout
    with warnings.catch_warnings():
        # PEFT takes the bias of a B, a vector, and an A of which no rank is left for tensors that were not gathered.
        warnings.filterwarnings("ignore", r".*LoRA tensor\(s\) have invalid shape")
        # The start stands beside what it became, on the base it rewrote.
        warnings.filterwarnings("ignore", "(PiSSA|OLoRA|CorDA) changes the base weights")
        model.save_pretrained(
            str(into),
            save_embedding_layers=False,
            path_initial_model_for_weight_conversion=None if start is None else str(start),
        )
    (into / CARD_FILE).unlink(missing_ok=True)  # PEFT's template, all "more information needed"
    values = json.loads((into / CONFIG_FILE).read_text())
    write_json(into / CONFIG_FILE, portable(config, values, type(job.options), base=job.base.record.id))
    write_json(into / PROVENANCE_FILE, _provenance(job, figures).model_dump())
    adapter = read_folder(into)
    options = job.method.Config.from_peft(adapter.config, where=str(into / CONFIG_FILE))
    adapter.check_plan(job.method.plan(options, job.base.shape), base=job.base.record.id)
    return adapter


def recorded_settings(job: TrainJob) -> dict[str, Any]:
    """What an adapter's record says of how it was asked for, besides its data and base.

    Of the options a digest: PEFT writes those that it resolved, and they may name a path of this machine.
    """
    options = hashlib.sha256(job.options.model_dump_json().encode()).hexdigest()
    settings = job.config.model_dump(mode="json", exclude=set(UNRECORDED))
    preset = {"preset": job.preset.name} if job.preset.name != job.method.name else {}
    chosen = job.goal.options.model_dump(mode="json")
    goal = {"objective_options": chosen} if chosen else {}
    return {"objective": job.goal.objective.name, **goal, **preset, **settings, "options_sha256": options}


def _provenance(job: TrainJob, figures: Figures) -> Provenance:
    return Provenance(
        method=job.method.name,
        base=job.base.record,
        quantization=job.base.quantization,
        prompt_format=job.prompt_format,
        prompt_signature=job.prompt_signature,
        data=job.data | {"general_text": job.probe.digest},
        training={"steps": figures.steps, **recorded_settings(job)},
        seeds={"training": job.config.seed},
        evaluations=figures.evaluations,
        forgetting=figures.forgetting,
        versions={name: version(name) for name in LIBRARIES},
        created=datetime.now(UTC).isoformat(timespec="seconds"),
    )
