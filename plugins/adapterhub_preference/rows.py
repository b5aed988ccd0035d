"""Preferences and ratings as token ids: those that serving has. Needs no torch."""

from __future__ import annotations

import copy
from typing import TYPE_CHECKING, Any, TypedDict

from adapterhub.objective import Encoder
from adapterhub.records import Feedback, Preference

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase


class PairRow(TypedDict):
    """One preference, under TRL's names."""

    prompt_ids: list[int]
    chosen_ids: list[int]
    """With the closing token, as `rejected_ids`."""
    rejected_ids: list[int]


class RatedRow(TypedDict):
    """One rated completion, under TRL's names."""

    prompt_ids: list[int]
    completion_ids: list[int]
    """With the closing token."""
    label: bool
    """Whether it is a good one."""


def pair_row(record: Preference, encoder: Encoder) -> PairRow:
    """Raises DataError naming a record that is too long, or whose answers are the same."""
    prompt = encoder.prompt(record.prompt, record.line)
    chosen = encoder.response(record.chosen, record.line)
    rejected = encoder.response(record.rejected, record.line)
    encoder.check_length(len(prompt) + max(len(chosen), len(rejected)), record.line)
    if chosen == rejected:
        raise encoder.error(record.line, "'chosen' and 'rejected' are the same, so neither is preferred")
    return PairRow(prompt_ids=prompt, chosen_ids=chosen, rejected_ids=rejected)


def rated_row(record: Feedback, encoder: Encoder) -> RatedRow:
    """Raises DataError naming a record that is too long."""
    prompt = encoder.prompt(record.prompt, record.line)
    completion = encoder.response(record.completion, record.line)
    encoder.check_length(len(prompt) + len(completion), record.line)
    return RatedRow(prompt_ids=prompt, completion_ids=completion, label=record.good)


def padding(tokenizer: PreTrainedTokenizerBase) -> Any:
    """A copy of the tokenizer that knows what to pad with, which TRL would write into the base's own."""
    own: Any = copy.deepcopy(tokenizer)
    if own.pad_token is None:
        own.pad_token = own.eos_token or own.convert_ids_to_tokens(0)
    return own
