"""The price of an adapter before it exists: no weight is read."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import get_args

import torch

from adapterhub.base import EmptyBase, Quantization
from adapterhub.engine.resident_adapter import bind_sites
from adapterhub.errors import ConfigError
from adapterhub.estimate.activations import Batch, activations
from adapterhub.estimate.config import EstimateConfig
from adapterhub.estimate.optimizer import adamw_8bit_bytes, adamw_bytes
from adapterhub.estimate.result import Estimate, Resident, Training
from adapterhub.estimate.site_memory import site_memory
from adapterhub.estimate.trained import Trained, all_of, trained
from adapterhub.estimate.training import training
from adapterhub.method import Plan
from adapterhub.plugins import installed_methods
from adapterhub.preset import TrainPreset
from adapterhub.train.choice import Choice

GIB = 1 << 30
FP32 = 4
HELD: tuple[Quantization, ...] = get_args(Quantization)
COMPARED = "lora"
"""The method that others are shown beside."""
FULL = "full"
"""What training every weight is called."""


def estimate(config: EstimateConfig, *, device: str | None = None) -> Estimate:
    """What an adapter of `config` costs to train and to serve on `device`, by default as `BaseModel.load` chooses.

    Raises as training does for the same settings: MethodNotFoundError, ConfigError, BaseNotFoundError,
    UnavailableError; and PluginError when the method raises.
    """
    choice = Choice.of(config.method, config.options)
    base = EmptyBase.read(config.base, device=device)
    plan = choice.method.plan(choice.options, base.shape)
    choice.method.check_training(choice.options, base.shape, choice.preset.quantization or "none")
    saved = choice._replace(options=choice.method.as_saved(choice.options))
    file = saved.method.plan(saved.options, base.shape)
    run = trained(choice, plan, base)
    return Estimate(
        base=base.folder.id,
        revision=base.folder.revision,
        base_parameters=base.num_parameters,
        method=config.method,
        device=base.place.type,
        batch_size=config.batch_size,
        max_length=config.max_length,
        trainable_parameters=sum(run.sizes),
        trainable_share=sum(run.sizes) / base.num_parameters,
        adapter_parameters=file.num_parameters,
        adapter_bytes=FP32 * file.num_parameters,
        training=(
            _full(config, base),
            *_adapters(config, choice, plan, run, base),
            *_compared(config, choice, base),
        ),
        resident={name: _resident(saved, file, base.held_as(name)) for name in HELD if name in choice.method.served_on},
    )


def _full(config: EstimateConfig, base: EmptyBase) -> Training:
    """Of every weight, in fp32: smaller floats lose the small steps of training."""
    base = base.held_as("none", torch.float32)
    run = all_of(base)
    batch = Batch(config.batch_size, min(config.max_length, base.shape.max_positions))
    kept = activations(base, batch, None, {})
    return training(FULL, base, run, kept, optimizer_bytes=adamw_bytes(run.sizes), whole=True)


def _compared(config: EstimateConfig, choice: Choice, base: EmptyBase) -> Iterator[Training]:
    """Of the method that others are measured by, with its defaults and by its presets."""
    if choice.method.name != COMPARED and COMPARED in installed_methods().by_name:
        other = Choice.of(COMPARED, {})
        plan = other.method.plan(other.options, base.shape)
        yield from _adapters(config, other, plan, trained(other, plan, base), base)


def _adapters(config: EstimateConfig, choice: Choice, plan: Plan, run: Trained, base: EmptyBase) -> Iterator[Training]:
    """Of the adapter, in every way that its method can be trained."""
    batch = _batch(config, plan, base)
    sites = {
        site.module: site_memory(choice, plan, site, base, batch.rows, run.layer(site.module))
        for site in plan.sites
        if site.kind == "module"
    }
    for way in _ways(choice):
        held = base.held_as(way.quantization or "none")
        try:
            choice.method.check_training(choice.options, base.shape, held.quantization)
        except ConfigError:
            continue
        small = base.place.type == "cuda" and "8bit" in (way.cuda_optimizer or "")
        states = (adamw_8bit_bytes if small else adamw_bytes)(run.sizes)
        kept = activations(held, batch, plan, sites)
        yield training(way.name, held, run, kept, optimizer_bytes=states, whole=False)


def _ways(choice: Choice) -> list[TrainPreset]:
    """The bare method on a floating base, its presets, and the method on nf4 where no preset is."""
    bare = TrainPreset(choice.method.name, method=choice.method.name, quantization="none")
    presets = [preset for preset in installed_methods().presets.values() if preset.method == bare.method]
    if not any(preset.quantization == "nf4" for preset in presets):
        presets.append(replace(bare, quantization="nf4"))
    return [bare, *presets]


def _batch(config: EstimateConfig, plan: Plan, base: EmptyBase) -> Batch:
    """The longest examples there may be, with the virtual tokens in front."""
    tokens = max(1, min(config.max_length, base.shape.max_positions - plan.virtual_tokens))
    embedded = sum(site.virtual_tokens for site in plan.sites if site.kind == "prompt")
    return Batch(config.batch_size, tokens, embedded=embedded, cached=plan.virtual_tokens - embedded)


def _resident(saved: Choice, file: Plan, base: EmptyBase) -> Resident:
    """Of the adapter in the engine, bound as a real one is."""
    tensors = {key: torch.empty(size, device=base.device) for key, size in file.shapes().items()}
    nbytes = bind_sites(saved.method, saved.options, file, tensors, base).nbytes
    return Resident(nbytes, GIB // nbytes)
