"""The trials of a sweep: every combination of the values that are to be tried. Needs no torch."""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any, NamedTuple, Self

from adapterhub.errors import ConfigError, RefError
from adapterhub.store import AdapterRef
from adapterhub.sweep.tag import marked, tag_of
from adapterhub.train.config import DEFAULT_METHOD, TrainConfig
from adapterhub.train.settings_file import NAME

ALIKE = frozenset(
    (
        "base",
        "data",
        "format",
        "init_from",
        "max_length",
        "objective",
        "probe",
        "quantization",
        "samples",
        "validation",
        "validation_share",
    )
)
"""Settings of one value: over others, losses would not compare, or the base could not be shared."""
OPTIONS = "options"
AS_THEY_ARE = ("objective_options",)
"""Tables that every trial has as they stand: a loss of another temperature is another loss."""


@dataclass(frozen=True)
class Trial:
    """One adapter to train."""

    ref: str
    """What it is published as."""
    varied: Mapping[str, Any]
    """The method, and the values that are not those of all trials."""
    config: TrainConfig


class Sweep(NamedTuple):
    """Trials over one base, on the same data."""

    name: str
    trials: tuple[Trial, ...]

    @classmethod
    def of(cls, values: Mapping[str, Any], *, where: str) -> Self:
        """From settings by name; a list holds the values of one to try, and `options` a table for each method.

        Raises ConfigError naming what is wrong, and RefError for a name that is none.
        """
        name = values.get(NAME)
        if not isinstance(name, str):
            raise ConfigError(f"{where}: name: missing; what to publish under", field=NAME)
        if AdapterRef.parse(name) != AdapterRef.parse(name.partition(":")[0]):
            raise RefError(f"{name}: every adapter of a sweep has its own tag; give the name alone", field=NAME)
        settings = {key: value for key, value in values.items() if key not in (NAME, OPTIONS)}
        for key, value in settings.items():
            _check_axis(key, value, settings, where)
        methods = _listed(settings.pop("method", DEFAULT_METHOD))
        tables = values.get(OPTIONS, {})
        if not isinstance(tables, Mapping):
            raise ConfigError(f"{where}: options: not a table", field=OPTIONS)
        for key, table in tables.items():
            if key not in methods or not isinstance(table, Mapping):
                tried = ", ".join(map(str, methods))
                raise ConfigError(f"{where}: options: {key!r} is no table of a method (tried: {tried})", field=OPTIONS)
        found = [trial for method in methods for trial in _trials(name, method, tables.get(method, {}), settings)]
        if not any(trial.config.validation or trial.config.validation_share for trial in found):
            raise ConfigError(
                f"{where}: validation_share: with nothing held out, there is nothing to rank by",
                field="validation_share",
            )
        return cls(name, tuple(_told_apart(found, where)))


def _check_axis(key: str, value: Any, settings: Mapping[str, Any], where: str) -> None:
    if not isinstance(value, list):
        return
    if not value:
        raise ConfigError(f"{where}: {key}: no value to try", field=key)
    if key in ALIKE and len(value) > 1:
        raise ConfigError(f"{where}: {key}: one value for all, or their losses do not compare", field=key)
    if key == "seed" and len(value) > 1 and not settings.get("validation"):
        raise ConfigError(f"{where}: seed: several need a validation file, as a seed decides the split", field=key)


def _trials(name: str, method: Any, options: Mapping[str, Any], settings: Mapping[str, Any]) -> Iterator[Trial]:
    axes = [(OPTIONS, key, _listed(value)) for key, value in options.items()]
    axes += [("", key, [value] if key in AS_THEY_ARE else _listed(value)) for key, value in settings.items()]
    for values in itertools.product(*(choices for _, _, choices in axes)):
        chosen = list(zip(axes, values, strict=True))
        own = {key: value for (place, key, _), value in chosen if place == OPTIONS}
        others = {key: value for (place, key, _), value in chosen if not place}
        varied = {key: value for (_, key, choices), value in chosen if len(choices) > 1}
        config = TrainConfig.load({**others, "method": method, OPTIONS: own}, where="sweep")
        yield Trial(f"{name}:{tag_of(str(config.method), varied)}", {"method": method, **varied}, config)


def _listed(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [value]


def _told_apart(trials: list[Trial], where: str) -> Iterator[Trial]:
    """Every trial under a reference of its own."""
    counts = Counter(trial.ref for trial in trials)
    taken = set()
    for trial in trials:
        ref = trial.ref if counts[trial.ref] == 1 else marked(trial.ref, trial.varied)
        if ref in taken:
            raise ConfigError(f"{where}: {ref} would be trained twice; a value is given twice", field="sweep")
        taken.add(ref)
        yield replace(trial, ref=ref)
