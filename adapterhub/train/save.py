"""A trained adapter as files: PEFT's layout and our record beside it."""

from __future__ import annotations

import dataclasses
import json
import warnings
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

from peft import PeftConfig, PeftModel

from adapterhub.adapter import CARD_FILE, CONFIG_FILE, PROVENANCE_FILE, Adapter, Provenance, read_folder
from adapterhub.train.job import TrainJob

LIBRARIES = ("adapterhub", "bitsandbytes", "peft", "torch", "transformers")
NEEDED_KEYS = frozenset(("base_model_name_or_path", "inference_mode", "peft_type", "peft_version", "task_type"))
"""Keys of adapter_config.json that are written whatever their values are."""
EMPTY: tuple[object, ...] = (None, False, {}, [])
"""What an option may be for its key to be left out, when absent means the same to PEFT and to us."""
UNRECORDED = frozenset(
    ("base", "data", "method", "options", "prompt_format", "quantization", "system_prompt", "validation")
)
"""Settings that are recorded elsewhere, or are paths of this machine."""


def save(
    job: TrainJob, model: PeftModel, into: Path, *, start: Path | None, steps: int, evaluations: dict[str, float]
) -> Adapter:
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
    _write_json(into / CONFIG_FILE, _portable(config, json.loads((into / CONFIG_FILE).read_text()), job))
    _write_json(into / PROVENANCE_FILE, _provenance(job, steps, evaluations).model_dump())
    adapter = read_folder(into)
    options = job.method.Config.from_peft(adapter.config, where=str(into / CONFIG_FILE))
    adapter.check_plan(job.method.plan(options, job.base.shape), base=job.base.record.id)
    return adapter


def _portable(config: PeftConfig, values: dict[str, Any], job: TrainJob) -> dict[str, Any]:
    """`values` without defaults, which older releases of PEFT may not know, and with sets in order."""
    values = values | {"base_model_name_or_path": job.base.record.id}  # not the folder of this machine
    ours = {name: info.get_default(call_default_factory=True) for name, info in type(job.options).model_fields.items()}
    wanted = NEEDED_KEYS | ours.keys()
    kept = {}
    for field in dataclasses.fields(config):
        value = values.get(field.name)
        default = field.default_factory() if callable(field.default_factory) else field.default
        chosen = field.name in wanted and not (value == default == ours.get(field.name) and value in EMPTY)
        if chosen or value not in (default, None):
            unordered = isinstance(getattr(config, field.name), set)
            kept[field.name] = sorted(values[field.name]) if unordered else value
    return kept


def _provenance(job: TrainJob, steps: int, evaluations: dict[str, float]) -> Provenance:
    settings = job.config.model_dump(mode="json", exclude=set(UNRECORDED))
    preset = {"preset": job.preset.name} if job.preset.name != job.method.name else {}
    return Provenance(
        method=job.method.name,
        base=job.base.record,
        quantization=job.base.quantization,
        prompt_format=job.prompt_format,
        data=job.data,
        prompt_signature=job.prompt_signature,
        training={"objective": "sft", "steps": steps, **preset, **settings},
        evaluations=evaluations,
        versions={name: version(name) for name in LIBRARIES},
        created=datetime.now(UTC).isoformat(timespec="seconds"),
    )


def _write_json(path: Path, values: dict[str, Any]) -> None:
    path.write_text(json.dumps(values, indent=2, sort_keys=True) + "\n")
