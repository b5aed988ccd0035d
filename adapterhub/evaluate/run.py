"""One evaluation, from settings to the table."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from adapterhub.adapter import Adapter
from adapterhub.base import BaseModel
from adapterhub.data import read_dataset
from adapterhub.engine import Engine
from adapterhub.errors import BaseMismatchError, ConfigError, InvalidInputError
from adapterhub.evaluate.asking import ask_all
from adapterhub.evaluate.bootstrap import RESAMPLES
from adapterhub.evaluate.chosen_metric import chosen_metrics
from adapterhub.evaluate.conclusion import conclude, samples_of, warnings_of
from adapterhub.evaluate.config import DEFAULT_SHOTS, EvalConfig
from adapterhub.evaluate.contender import Contender, contenders
from adapterhub.evaluate.evaluation import Evaluation
from adapterhub.evaluate.questions import Question, drawn_shots, expected_of, questions, sampled
from adapterhub.evaluate.table import measure, rows


def evaluate(
    config: EvalConfig,
    adapters: Mapping[str, Adapter],
    *,
    base: BaseModel | None = None,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> Evaluation:
    """Ask the base, prompted without and with examples, and all adapters the same questions, in one batch.

    `adapters` are of a store, by the labels of their rows. The base is loaded unless it is given.
    `progress(done, total)` is called after each answer, on another thread.
    Raises ConfigError, DataError, InvalidInputError (no such file), BaseMismatchError for an adapter of another
    base, and as `BaseModel.load` and `Engine`.
    """
    metrics = chosen_metrics(config.metric)
    data = read_dataset(config.data)
    held_out = questions(data)
    asked = sampled(held_out, config.limit, config.seed)
    shots, shots_sha256 = _shots(config, held_out)
    _check_one_base(adapters)
    if base is None:
        base = BaseModel.load(_base_ref(config, adapters), quantization=config.quantization)
    for label, adapter in adapters.items():
        _check_base(label, adapter, base)
    lineup = contenders(config, base, adapters, shots, asked)
    with Engine(base) as engine:
        answered = ask_all(config, engine, lineup, adapters, asked, data, progress)
    measured = measure(answered, [expected_of(question) for question in asked], metrics, config.seed)
    table = rows(answered, measured, config)
    return conclude(
        metrics,
        table,
        measured,
        data=data,
        samples=samples_of(asked, answered),
        examples=len(asked),
        settings=_settings(config, base, lineup, shots_sha256),
        warnings=warnings_of(table, adapters, data),
    )


def _settings(config: EvalConfig, base: BaseModel, lineup: Sequence[Contender], shots_sha256: str) -> dict[str, Any]:
    """What decided the figures, for the record."""
    settings = {
        "seed": config.seed,
        "resamples": RESAMPLES,
        "max_new_tokens": config.max_new_tokens,
        "quantization": base.quantization,
        "prompt_format": lineup[0].prompting.prompt_format.kind,
        "instruction": config.instruction,
        "shots_sha256": shots_sha256,
    }
    return {name: value for name, value in settings.items() if value != ""}


def _shots(config: EvalConfig, held_out: Sequence[Question]) -> tuple[dict[int, tuple[Question, ...]], str]:
    """Examples by how many stand in the prompt, and the digest of their file."""
    if config.examples is None:
        if config.shots:
            raise ConfigError("shots: need --examples FILE, the training set they are taken from", field="shots")
        return {}, ""
    examples = read_dataset(config.examples)
    counts = DEFAULT_SHOTS if config.shots is None else config.shots
    return {count: drawn_shots(examples, held_out, count, config.seed) for count in counts}, examples.sha256


def _check_one_base(adapters: Mapping[str, Adapter]) -> None:
    """Raises BaseMismatchError, before any base is loaded, when the adapters are not of one."""
    recorded = [(label, adapter.base) for label, adapter in adapters.items() if adapter.base is not None]
    for label, record in recorded:
        first, of_first = recorded[0]
        if record.digest != of_first.digest:
            raise BaseMismatchError(
                f"{label} was made on {record.id} ({record.digest[:19]}), {first} on {of_first.id} "
                f"({of_first.digest[:19]}); one evaluation has one base"
            )


def _base_ref(config: EvalConfig, adapters: Mapping[str, Adapter]) -> str:
    """What base to load. Raises ConfigError when nothing says it."""
    recorded = [adapter.base.ref for adapter in adapters.values() if adapter.base is not None]
    if not config.base and not recorded:
        raise ConfigError("base: no adapter records it; say where it is with --base", field="base")
    return config.base or recorded[0]


def _check_base(label: str, adapter: Adapter, base: BaseModel) -> None:
    if not adapter.digest:
        raise InvalidInputError(f"{label}: not of a store; publish it first", field="adapter")
    try:
        adapter.check_base(base.record)
    except BaseMismatchError as error:
        raise BaseMismatchError(f"{label}: {error}") from None
