"""Everything a training run needs, read and checked before its first step."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Self, cast, get_args

import torch

from adapterhub.base import BaseModel, Quantization, read_base
from adapterhub.data import Dataset, check_records, prompt_of, read_dataset
from adapterhub.encoder import Encoder
from adapterhub.errors import ConfigError
from adapterhub.method import BaseShape, Method, MethodConfig, Plan
from adapterhub.objective import LossObjective
from adapterhub.preset import TrainPreset
from adapterhub.prompt_format import FormatKind, PromptFormat
from adapterhub.prompt_signature import sign_prompts
from adapterhub.train.choice import Choice
from adapterhub.train.config import TrainConfig, TrainQuantization
from adapterhub.train.defaults import with_defaults
from adapterhub.train.full import FULL, FULL_PRESET
from adapterhub.train.goal import Goal
from adapterhub.train.job_adapter import JobAdapter
from adapterhub.train.parent import Parent
from adapterhub.train.probe import Probe
from adapterhub.train.processes import Processes
from adapterhub.train.questions import Question, questions
from adapterhub.train.replay import Replay
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
    adapter: JobAdapter | None
    """What learns; None where all of the base does."""
    base: BaseModel
    borrowed: bool
    """Whether the base is the caller's, and is given back as it was."""
    goal: Goal
    encoder: Encoder
    """Of the training side."""
    train: list[Any]
    """The rows of the objective's trainer; of a loss over tokens, `Example`s."""
    held_out: list[Any]
    """Empty when nothing is held out."""
    data: dict[str, Any]
    """Digests and counts of the data, for the adapter's record."""
    processes: Processes
    """This one, and how many it shares each step with."""
    replays: bool
    """Whether general data are mixed in among `train`."""
    probe: Probe
    """What forgetting is measured on."""
    questions: list[Question]
    """Held-out prompts that are answered before and after."""
    prompt_signature: str
    """Of the prompts trained on; empty when the run is to leave none."""
    warnings: tuple[str, ...] = ()
    """What looks wrong with the data."""

    @classmethod
    def prepare(
        cls,
        config: TrainConfig,
        base: BaseModel | None,
        warn: Warn | None = None,
        settled: Callable[[TrainConfig], None] = lambda config: None,
    ) -> Self:
        """Check what can be checked cheaply first, then load `config.base` unless `base` is given.

        Before the base loads, `settled` is told the settings with nothing left open, and may raise, and `warn` what
        looks wrong with the data.
        Raises MethodNotFoundError, ConfigError, DataError, InvalidInputError (no such file), as BaseModel.load, and
        as `Parent` where the run goes on with an adapter.
        """
        processes = Processes.now()
        if config.init_from and config.method == FULL:
            raise ConfigError("init_from: method full has no adapter to go on with", field="init_from")
        parent = Parent.of(config.init_from) if config.init_from else None
        choice = _choice(config) if parent is None else None
        goal = Goal.of(config.objective, config.objective_options)
        _check_shared(config, goal, processes)
        train, held_out, warnings = _read_sides(config)
        for side in (train, held_out):
            goal.check_data(side)
        if warn is not None:
            for warning in warnings:
                warn(warning)
        probe, replay = Probe.of(config.probe), Replay.of(config, goal)
        shape = read_base(config.base)[1] if base is None else base.shape
        if parent is not None:
            parent.check(shape, base=config.base)
            choice = Choice.after(parent, config.method, config.options, shape)
        preset = FULL_PRESET if choice is None else choice.preset
        config = with_defaults(config, preset, choice and choice.method)
        settled(config)
        goal.check(choice, shape)
        goal.check_format(config.prompt_format)
        rows = len(train.records) + (replay.count(len(train.records)) if replay else 0)
        adapter = choice and _adapter(choice, parent, _steps(config, goal, rows), shape)
        quantization = _quantization(config, preset, parent) if base is None else base.quantization
        _check_quantization(config, preset, quantization)
        if adapter is not None:
            _check_method(adapter, shape, quantization)
            _check_checkpointing(config, adapter.method, adapter.plan)
        borrowed = base is not None
        if base is None:
            base = BaseModel.load(config.base, quantization=quantization, device=processes.device())
        if parent is not None:
            parent.adapter.check_base(base.record)
        virtual = adapter.plan.virtual_tokens if adapter else 0
        encoder = Encoder(
            base.tokenizer,
            _prompt_format(config, base, goal, parent),
            train.source,
            config.max_length,
            shape.max_positions - virtual,
            virtual,
            config.overlong,
        )
        sides = [Side.of(goal, dataset, encoder, base) for dataset in (train, held_out)]
        learned, data = sides[0].rows, _record(train, held_out) | sides[0].shortened
        if replay is not None:
            learned, data["replay"] = replay.mix(learned, encoder, base, probe)
        if choice is not None:  # the rows are known now, which may be packed
            adapter = _adapter(choice, parent, _steps(config, goal, len(learned)), shape)
        return cls(
            config=config,
            preset=preset,
            adapter=adapter,
            base=base,
            borrowed=borrowed,
            goal=goal,
            encoder=encoder,
            train=learned,
            held_out=sides[1].rows,
            data=data,
            processes=processes,
            replays=replay is not None,
            probe=probe,
            questions=questions(held_out.records, encoder, config.samples, config.seed),
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
        """What must be the same when the run is resumed: digests of the data, of the base, and where it starts."""
        facts = {
            "data": str(self.data["sha256"]),
            "validation": str(self.data.get("validation_sha256", "")),
            "base": self.base.record.digest,
            "probe": self.probe.digest,
            "replay": str(self.data.get("replay", {}).get("sha256", "")),
        }
        parent = self.adapter.parent if self.adapter else None
        return facts | ({"init_from": str(parent.ref)} if parent else {})

    @property
    def method(self) -> Method[Any]:
        """Of the adapter that learns; there is one."""
        return self._adapter.method

    @property
    def options(self) -> MethodConfig:
        return self._adapter.options

    @property
    def plan(self) -> Plan:
        return self._adapter.plan

    @property
    def virtual_tokens(self) -> int:
        """Positions that the adapter takes in front of every prompt."""
        return self.adapter.plan.virtual_tokens if self.adapter else 0

    def targets(self) -> list[str]:
        """The modules that the adapter acts on."""
        return [site.module for site in self.plan.sites if site.module]

    @property
    def _adapter(self) -> JobAdapter:
        assert self.adapter is not None, "all of the base learns, and there is no adapter"
        return self.adapter


def _choice(config: TrainConfig) -> Choice | None:
    """What a fresh run trains; None for all of the base. Raises as `Choice.of`."""
    if config.method != FULL:
        return Choice.of(config.method, config.options)
    for option in config.options:
        raise ConfigError(f"method full: unknown option {option!r} (it has none)", field=option)
    return None


def _adapter(choice: Choice, parent: Parent | None, steps: int, shape: BaseShape) -> JobAdapter:
    """Raises ConfigError for an option that the base or the number of steps cannot meet, before anything loads."""
    method = choice.method
    options = method.scheduled(choice.options, steps)
    return JobAdapter(method, options, method.plan(options, shape), parent)


def _check_method(adapter: JobAdapter, shape: BaseShape, quantization: Quantization) -> None:
    method = adapter.method
    if adapter.parent is None or not method.trained:
        method.check_training(adapter.options, shape, quantization)
    else:
        method.check_continuing(adapter.options, shape, quantization)


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


def _check_shared(config: TrainConfig, goal: Goal, processes: Processes) -> None:
    """Raises ConfigError for what the processes of a run cannot share."""
    if processes.count > 1 and not isinstance(goal.objective, LossObjective):
        raise ConfigError(
            f"objective {goal.objective.name}: it brings a trainer of its own, whose gradients the processes of a run "
            "would not share; need one process",
            field="objective",
        )
    if config.batch_size % processes.count:
        raise ConfigError(
            f"batch_size: {config.batch_size} examples in a step are not to be shared by {processes.count} processes; "
            f"need a multiple of {processes.count}",
            field="batch_size",
        )


def _steps(config: TrainConfig, goal: Goal, examples: int) -> int:
    """Optimizer steps of the run, as the Trainer counts them."""
    assert config.epochs is not None, "a method's default stands in for what was not given"
    per_epoch = goal.objective.steps(goal.options, examples, config.batch_size * config.accumulate)
    return config.max_steps or math.ceil(config.epochs * per_epoch)


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


def _prompt_format(config: TrainConfig, base: BaseModel, goal: Goal, parent: Parent | None) -> PromptFormat:
    """As asked, or the only one that the objective trains; else the parent's; else a chat where there is a template.

    Raises ConfigError as the parent's check.
    """
    only, inherited = goal.objective.prompt_format, parent.prompt_format if parent else None
    asked = config.prompt_format is not None or config.system_prompt is not None
    if inherited is not None and not asked and only in (None, inherited.kind):
        inherited.check(base.tokenizer)
        return inherited
    default: FormatKind = "chat" if base.tokenizer.chat_template else "raw"
    kind = config.prompt_format or only or (inherited.kind if inherited else default)
    return PromptFormat.of(base.tokenizer, kind, config.system_prompt)


def _quantization(config: TrainConfig, preset: TrainPreset, parent: Parent | None) -> Quantization:
    """As asked, or as the preset needs it; else as the parent had it; else by the device."""
    if asked := config.quantization or preset.quantization:
        return asked
    for trainable in TRAINABLE:
        if parent is not None and parent.quantization == trainable:
            return cast(Quantization, trainable)
    return "nf4" if torch.cuda.is_available() else "none"


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
