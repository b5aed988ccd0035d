"""The settings of a run, from where each was given."""

from __future__ import annotations

from typing import Any

import click
from click.core import ParameterSource

from adapterhub.cli.config_flags import FLAGS, PAIRS
from adapterhub.cli.options import parse_options
from adapterhub.train.config import TrainConfig

TYPED = (ParameterSource.COMMANDLINE, ParameterSource.ENVIRONMENT)
"""Where a value comes from that wins over a run's file and its record."""


def train_settings(
    ctx: click.Context, values: dict[str, Any], written: dict[str, Any], recorded: dict[str, Any]
) -> TrainConfig:
    """Flags and variables over the run's file over its record over the config file over the defaults."""
    typed = _from(TYPED, ctx, values)
    settled = _from((ParameterSource.DEFAULT_MAP,), ctx, values)
    merged = settled | recorded | written | typed
    for name in PAIRS:
        layers = [settled.get(name, ()), recorded.get(name, {}), written.get(name, {}), typed.get(name, ())]
        merged[name] = {}
        for layer in layers:
            merged[name] |= layer if isinstance(layer, dict) else parse_options(layer)
    for name, field in TrainConfig.model_fields.items():
        if field.is_required() and name not in merged:
            raise click.UsageError(f"missing option '{FLAGS.get(name, f'--{name}')}'", ctx)
    return TrainConfig.load({name: value for name, value in merged.items() if value is not None}, where="train")


def typed_settings(ctx: click.Context, values: dict[str, Any]) -> dict[str, Any]:
    """Those given by flags and variables. Raises UsageError for options, which stand in the file of a sweep."""
    typed = _from(TYPED, ctx, values)
    if typed.keys() & PAIRS.keys():
        raise click.UsageError("with --sweep, options stand in its file", ctx)
    return typed


def _from(sources: tuple[ParameterSource, ...], ctx: click.Context, values: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in values.items() if ctx.get_parameter_source(name) in sources}
