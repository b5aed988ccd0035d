"""Everything a training run needs, read and checked before its first step."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Any, Self, get_args

import torch

from adapterhub.base import BaseModel, Quantization, read_base
from adapterhub.data import Dataset, prompt_of, read_dataset
from adapterhub.encoder import Encoder
from adapterhub.errors import ConfigError
from adapterhub.method import Method, MethodConfig, Plan
from adapterhub.preset import TrainPreset
from adapterhub.prompt_format import PromptFormat
from adapterhub.prompt_signature import sign_prompts
from adapterhub.train.bare_base import BareBase
from adapterhub.train.choice import Choice
from adapterhub.train.config import TrainConfig, TrainQuantization
from adapterhub.train.goal import Goal
from adapterhub.train.probe import Probe
from adapterhub.train.questions import Question, questions
from adapterhub.train.replay import Replay

TRAINABLE = get_args(TrainQuantization)
"""Quantizations a gradient can pass."""


@dataclass(frozen=True)
class TrainJob:
    """Settings, method, base and examples of one run."""

    config: TrainConfig
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
    replays: bool
    """Whether general data are mixed in among `train`."""
    probe: Probe
    """What forgetting is measured on."""
    questions: list[Question]
    """Held-out prompts that are answered before and after."""
    prompt_signature: str
    """Of the prompts trained on; empty when the run is to leave none."""

    @classmethod
    def prepare(cls, config: TrainConfig, base: BaseModel | None) -> Self:
        """Check what can be checked cheaply first, then load `config.base` unless `base` is given.

        Raises MethodNotFoundError, ConfigError, DataError, InvalidInputError (no such file), or as BaseModel.load.
        """
        choice = Choice.of(config.method, config.options)
        preset, method, options = choice
        goal = Goal.of(config.objective, config.objective_options)
        train, held_out = _read_sides(config)
        for side in (train, held_out):
            goal.check_data(side)
        probe, replay = Probe.of(config.probe), Replay.of(config, goal)
        rows = len(train.records) + (replay.count(len(train.records)) if replay else 0)
        options = method.scheduled(options, _steps(config, rows))
        shape = read_base(config.base)[1] if base is None else base.shape
        goal.check(choice, shape)
        plan = method.plan(options, shape)  # an option the base cannot meet is named before it loads
        quantization = _quantization(config, preset) if base is None else base.quantization
        _check_quantization(config, preset, quantization)
        method.check_training(options, shape, quantization)
        if base is None:
            base = BaseModel.load(config.base, quantization=quantization)
        room = shape.max_positions - plan.virtual_tokens
        encoder = Encoder(base.tokenizer, _prompt_format(config, base), train.source, config.max_length, room)
        sides = [
            goal.objective.prepare(goal.options, side.records, replace(encoder, source=side.source), BareBase(base))
            if side.records
            else []
            for side in (train, held_out)
        ]
        data = _record(train, held_out)
        if replay is not None:
            sides[0], data["replay"] = replay.mix(sides[0], encoder, base, probe)
        return cls(
            config=config,
            preset=preset,
            method=method,
            options=options,
            plan=plan,
            base=base,
            goal=goal,
            encoder=encoder,
            train=sides[0],
            held_out=sides[1],
            data=data,
            replays=replay is not None,
            probe=probe,
            questions=questions(held_out.records, encoder, config.samples, config.seed),
            prompt_signature=sign_prompts(prompt_of(record) for record in train.records)
            if config.prompt_signature
            else "",
        )

    @property
    def prompt_format(self) -> PromptFormat:
        return self.encoder.prompt_format

    def targets(self) -> list[str]:
        """The modules that the adapter acts on."""
        return [site.module for site in self.plan.sites if site.module]


def _read_sides(config: TrainConfig) -> tuple[Dataset, Dataset]:
    """What is trained on, and what is held out: without records where nothing is."""
    dataset = read_dataset(config.data)
    if config.validation is not None:
        return dataset, read_dataset(config.validation)
    if config.validation_share:
        return dataset.split(config.validation_share, config.seed)
    return dataset, dataset._replace(records=())


def _steps(config: TrainConfig, examples: int) -> int:
    """Optimizer steps of the run, as the Trainer counts them."""
    return config.max_steps or math.ceil(config.epochs * math.ceil(examples / config.batch_size))


def _record(train: Dataset, held_out: Dataset) -> dict[str, Any]:
    record: dict[str, Any] = {"format": train.format, "sha256": train.sha256, "examples": len(train.records)}
    if held_out.records:
        record["validation_examples"] = len(held_out.records)
        if held_out.source != train.source:
            record["validation_sha256"] = held_out.sha256
    return record


def _prompt_format(config: TrainConfig, base: BaseModel) -> PromptFormat:
    """As asked; by default a chat where the base has a template."""
    kind = config.prompt_format or ("chat" if base.tokenizer.chat_template else "raw")
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
