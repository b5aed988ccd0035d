"""The trials of a sweep, one after another on one loaded base, each published as soon as it is trained."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path

import torch

from adapterhub.adapter import Adapter
from adapterhub.base import BaseModel, Quantization
from adapterhub.errors import AdapterHubError, AdapterNotFoundError
from adapterhub.store import Store
from adapterhub.sweep.grid import Sweep, Trial
from adapterhub.sweep.outcome import Outcome, ranked
from adapterhub.train import train
from adapterhub.train.choice import Choice
from adapterhub.train.job import TrainJob
from adapterhub.train.provenance import recorded_settings
from adapterhub.train.result import Watch

Shown = Callable[[Trial], AbstractContextManager[Watch | None]]


def run_sweep(
    sweep: Sweep,
    *,
    base: BaseModel | None = None,
    store: Store | None = None,
    shown: Shown = lambda trial: nullcontext(),
    done: Callable[[Outcome], None] = lambda outcome: None,
) -> list[Outcome]:
    """Train and publish every trial: the outcomes, the lowest validation loss first.

    What cannot be trained is refused before anything trains, and what fails in training leaves the others to go
    on; `done` is called with each as it is known. A trial whose adapter is in the store under its reference, made
    by the same settings from the same data on the same base, is not trained again.

    Raises the first trial's error when all are refused, and as `BaseModel.load`.
    """
    store = store or Store.default()
    choices: dict[str, Choice] = {}
    errors: dict[str, AdapterHubError] = {}
    for trial in sweep.trials:
        try:
            choices[trial.ref] = Choice.of(trial.config.method, trial.config.options)
        except AdapterHubError as error:
            errors[trial.ref] = error
    if choices and base is None:
        base = BaseModel.load(sweep.trials[0].config.base, quantization=_quantization(sweep, choices))
    found: dict[str, Outcome] = {}
    for trial in sweep.trials:
        if base is None or trial.ref in errors:
            continue
        try:
            job = TrainJob.prepare(trial.config, base)
        except AdapterHubError as error:
            errors[trial.ref] = error
            continue
        if kept := _kept(trial, job, store):
            found[trial.ref] = Outcome.of(trial, kept, kept.digest, None)
    if len(errors) == len(sweep.trials):
        raise next(iter(errors.values()))
    for trial in sweep.trials:
        if trial.ref in errors:
            found[trial.ref] = Outcome(trial, "refused", str(errors[trial.ref]))
        if trial.ref in found:
            done(found[trial.ref])
    assert base is not None
    for trial in sweep.trials:
        if trial.ref not in found:
            with shown(trial) as watch:
                found[trial.ref] = _trained(trial, base, store, watch)
            done(found[trial.ref])
    return ranked(found[trial.ref] for trial in sweep.trials)


def _trained(trial: Trial, base: BaseModel, store: Store, watch: Watch | None) -> Outcome:
    with tempfile.TemporaryDirectory(prefix="adapterhub-sweep-") as scratch:
        folder = Path(scratch) / "adapter"
        try:
            result = train(trial.config, folder, base=base, watch=watch)
            digest = store.publish(folder, trial.ref).digest
        except AdapterHubError as error:
            return Outcome(trial, "failed", str(error))
        except Exception as error:  # noqa: BLE001  out of memory, or a method's own: the others go on
            return Outcome(trial, "failed", f"{type(error).__name__}: {error}")
        return Outcome.of(trial, result.adapter, digest, result.seconds)


def _kept(trial: Trial, job: TrainJob, store: Store) -> Adapter | None:
    """The stored adapter that `job` would make again."""
    try:
        adapter = store.resolve(trial.ref)
    except AdapterNotFoundError:
        return None
    record = adapter.provenance
    if record is None:
        return None
    settings = recorded_settings(job)
    made = (record.method, record.base, record.quantization, record.prompt_format, record.data)
    wanted = (job.method.name, job.base.record, job.base.quantization, job.prompt_format)
    same = made == (*wanted, job.data | {"general_text": job.probe.digest})
    return adapter if same and settings.items() <= record.training.items() else None


def _quantization(sweep: Sweep, choices: dict[str, Choice]) -> Quantization:
    """As asked, or as a preset among the trials needs it; else by the device."""
    asked: Quantization | None = sweep.trials[0].config.quantization
    presets: list[Quantization] = [
        choice.preset.quantization for choice in choices.values() if choice.preset.quantization
    ]
    return asked or next(iter(presets), None) or ("nf4" if torch.cuda.is_available() else "none")
