"""Everything a training run needs, read and checked before its first step."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Self, get_args

import torch

from adapterhub.base import BaseModel, Quantization, read_base
from adapterhub.data import Dataset, check_records, prompt_of, read_dataset
from adapterhub.encoder import Encoder
from adapterhub.errors import ConfigError
from adapterhub.method import Method, MethodConfig, Plan
from adapterhub.preset import TrainPreset
from adapterhub.prompt_format import FormatKind, PromptFormat
from adapterhub.prompt_signature import sign_prompts
from adapterhub.train.choice import Choice
from adapterhub.train.config import TrainConfig, TrainQuantization
from adapterhub.train.defaults import with_defaults
from adapterhub.train.goal import Goal
from adapterhub.train.side import Side

TRAINABLE = get_args(TrainQuantization)
"""Quantizations a gradient can pass."""
Warn = Callable[[str], None]
"""Told a line about the data."""


@dataclass(frozen=True)
class TrainJob:
    """Settings, method, base and examples of one run."""

    config: TrainConfig
    """With the method's defaults where nothing was given."""
    preset: TrainPreset
    """The one that `config.method` names, or the bare method of that name."""
    method: Method[Any]
    options: MethodConfig
    plan: Plan
    base: BaseModel
    goal: Goal
    encoder: Encoder
    """Of the training side."""
    train: list[Any]
    """The rows of the objective's trainer; of a loss over tokens, `Example`s."""
    held_out: list[Any]
    """Empty when nothing is held out."""
    data: dict[str, Any]
    """Digests and counts of the data, for the adapter's record."""
    prompt_signature: str
    """Of the prompts trained on; empty when the run is to leave none."""
    warnings: tuple[str, ...] = ()
    """What looks wrong with the data."""

    @classmethod
    def prepare(cls, config: TrainConfig, base: BaseModel | None, warn: Warn | None = None) -> Self:
        """Check what can be checked cheaply first, then load `config.base` unless `base` is given.

        `warn` is told what looks wrong with the data, before the base loads.
        Raises MethodNotFoundError, ConfigError, DataError, InvalidInputError (no such file), or as BaseModel.load.
        """
        choice = Choice.of(config.method, config.options)
        preset, method, options = choice
        config = with_defaults(config, choice)
        goal = Goal.of(config.objective, config.objective_options)
        train, held_out, warnings = _read_sides(config)
        for side in (train, held_out):
            goal.check_data(side)
        if warn is not None:
            for warning in warnings:
                warn(warning)
        options = method.scheduled(options, _steps(config, len(train.records)))
        shape = read_base(config.base)[1] if base is None else base.shape
        goal.check(choice, shape)
        goal.check_format(config.prompt_format)
        plan = method.plan(options, shape)  # an option the base cannot meet is named before it loads
        _check_checkpointing(config, method, plan)
        quantization = _quantization(config, preset) if base is None else base.quantization
        _check_quantization(config, preset, quantization)
        method.check_training(options, shape, quantization)
        if base is None:
            base = BaseModel.load(config.base, quantization=quantization)
        room = shape.max_positions - plan.virtual_tokens
        encoder = Encoder(
            base.tokenizer,
            _prompt_format(config, base, goal),
            train.source,
            config.max_length,
            room,
            plan.virtual_tokens,
            config.overlong,
        )
        sides = [Side.of(goal, dataset, encoder, base) for dataset in (train, held_out)]
        options = method.scheduled(choice.options, _steps(config, len(sides[0].rows)))  # rows, which may be packed
        return cls(
            config=config,
            preset=preset,
            method=method,
            options=options,
            plan=plan,
            base=base,
            goal=goal,
            encoder=encoder,
            train=sides[0].rows,
            held_out=sides[1].rows,
            data=_record(train, held_out) | sides[0].shortened,
            prompt_signature=sign_prompts(prompt_of(record) for record in train.records)
            if config.prompt_signature
            else "",
            warnings=warnings,
        )

    @property
    def prompt_format(self) -> PromptFormat:
        return self.encoder.prompt_format

    @property
    def facts(self) -> dict[str, str]:
        """What must be the same when the run is resumed: digests of the data and of the base."""
        validation = str(self.data.get("validation_sha256", ""))
        return {"data": str(self.data["sha256"]), "validation": validation, "base": self.base.record.digest}

    def targets(self) -> list[str]:
        """The modules that the adapter acts on."""
        return [site.module for site in self.plan.sites if site.module]


def _read_sides(config: TrainConfig) -> tuple[Dataset, Dataset, tuple[str, ...]]:
    """What is trained on, what is held out (without records where nothing is), and warnings about both."""
    dataset = read_dataset(config.data, config.format)
    held_out = None if config.validation is None else read_dataset(config.validation, config.format)
    warnings = tuple(finding.message for finding in check_records(dataset, held_out))
    if held_out is not None:
        return dataset, held_out, warnings
    if config.validation_share:
        return *dataset.split(config.validation_share, config.seed), warnings
    return dataset, dataset._replace(records=()), warnings


def _steps(config: TrainConfig, examples: int) -> int:
    """Optimizer steps of the run, as the Trainer counts them."""
    assert config.epochs is not None, "a method's default stands in for what was not given"
    batches = math.ceil(examples / config.batch_size)
    return config.max_steps or math.ceil(config.epochs * math.ceil(batches / config.accumulate))


def _check_checkpointing(config: TrainConfig, method: Method[Any], plan: Plan) -> None:
    """Raises ConfigError where keys and values that the adapter puts in front would be lost on the second pass."""
    if config.gradient_checkpointing and any(site.kind == "kv" for site in plan.sites):
        raise ConfigError(
            f"gradient_checkpointing: not with method {method.name}, whose keys and values in front of every layer's "
            "cache are not there when activations are computed again; leave it out",
            field="gradient_checkpointing",
        )


def _record(train: Dataset, held_out: Dataset) -> dict[str, Any]:
    record: dict[str, Any] = {"format": train.format, "sha256": train.sha256, "examples": len(train.records)}
    if train.hub:
        record["hub"] = train.hub
    if held_out.records:
        record["validation_examples"] = len(held_out.records)
        if held_out.source != train.source:
            record["validation_sha256"] = held_out.sha256
            if held_out.hub:
                record["validation_hub"] = held_out.hub
    return record


def _prompt_format(config: TrainConfig, base: BaseModel, goal: Goal) -> PromptFormat:
    """As asked, or the only one that the objective trains; by default a chat where the base has a template."""
    default: FormatKind = "chat" if base.tokenizer.chat_template else "raw"
    kind = config.prompt_format or goal.objective.prompt_format or default
    return PromptFormat.of(base.tokenizer, kind, config.system_prompt)


def _quantization(config: TrainConfig, preset: TrainPreset) -> Quantization:
    """As asked, or as the preset needs it; else by the device."""
    return config.quantization or preset.quantization or ("nf4" if torch.cuda.is_available() else "none")


def _check_quantization(config: TrainConfig, preset: TrainPreset, quantization: Quantization) -> None:
    problem = ""
    if quantization not in TRAINABLE:
        problem = f"no gradient passes an {quantization} base (accepted: {', '.join(TRAINABLE)})"
    elif config.quantization not in (None, quantization):
        problem = f"{config.quantization!r} asked for, the given base is {quantization!r}"
    elif preset.quantization not in (None, quantization):
        problem = f"{preset.name} needs a base held as {preset.quantization}, not {quantization!r}"
    if problem:
        raise ConfigError(f"quantization: {problem}", field="quantization")
