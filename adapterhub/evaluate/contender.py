"""Who takes part in an evaluation: the bare base, prompted in some way, or an adapter."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from adapterhub.adapter import Adapter
from adapterhub.base import BaseModel
from adapterhub.errors import BaseMismatchError, ConfigError
from adapterhub.evaluate.config import EvalConfig
from adapterhub.evaluate.prompting import Prompting, separator
from adapterhub.evaluate.questions import Question
from adapterhub.prompt_format import PromptFormat


@dataclass(frozen=True)
class Contender:
    """One row of the table, before it is asked anything."""

    label: str
    digest: str
    """Of the adapter; empty for the bare base."""
    prompting: Prompting


def contenders(
    config: EvalConfig,
    base: BaseModel,
    adapters: Mapping[str, Adapter],
    shots: Mapping[int, tuple[Question, ...]],
    asked: tuple[Question, ...],
) -> list[Contender]:
    """The base without and with examples, then the adapters, each with its recorded prompt format.

    Raises BaseMismatchError for an adapter whose format was recorded with another chat template.
    """
    formats = {label: _format_of(adapter, label, base) for label, adapter in adapters.items()}
    of_base = _base_format(config, base, next(iter(formats.values()), None))
    between = separator((*asked, *(shot for each in shots.values() for shot in each)))
    found = [Contender("base, zero-shot", "", Prompting(of_base, (), config.instruction, between))]
    for count, examples in shots.items():
        prompting = Prompting(of_base, examples, config.instruction, between)
        found.append(Contender(f"base, {count}-shot", "", prompting))
    return found + [Contender(label, adapter.digest, Prompting(formats[label])) for label, adapter in adapters.items()]


def _base_format(config: EvalConfig, base: BaseModel, first: PromptFormat | None) -> PromptFormat:
    """As asked; else as the first adapter's, so that both are given the same text."""
    if config.prompt_format is not None:
        system = first.system_prompt if first is not None and config.prompt_format == "chat" else None
        return PromptFormat.of(base.tokenizer, config.prompt_format, system)
    return first or _default_format(base)


def _format_of(adapter: Adapter, label: str, base: BaseModel) -> PromptFormat:
    """The recorded format; where none is, what serving takes."""
    if (recorded := adapter.prompt_format) is None:
        return _default_format(base)
    try:
        recorded.check(base.tokenizer)
    except ConfigError as error:
        raise BaseMismatchError(f"{label}: {error}") from None
    return recorded


def _default_format(base: BaseModel) -> PromptFormat:
    return PromptFormat.of(base.tokenizer, "chat" if base.tokenizer.chat_template else "raw")
