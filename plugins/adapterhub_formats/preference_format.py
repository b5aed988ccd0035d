"""Two answers to a prompt, of which one is better. Shapes as TRL's "Dataset formats and types" has them."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import takewhile
from typing import Any

from adapterhub.data_format import DataFormat
from adapterhub.records import Message, Preference
from adapterhub_formats.fields import kind, objects, text
from adapterhub_formats.turns import read_reply, read_turns


class PreferenceFormat(DataFormat):
    """`{"prompt": ..., "chosen": ..., "rejected": ...}`, in text or in turns.

    Without a prompt it is what both answers begin with. Turns of an answer may repeat those of the prompt.
    """

    name = "preference"
    shape = '{"prompt": text or turns, or absent, "chosen": text or turns, "rejected": text or turns}'
    keys = ("prompt", "chosen", "rejected")

    def recognizes(self, values: Mapping[str, Any]) -> bool:
        return "chosen" in values or "rejected" in values

    def read(self, values: Mapping[str, Any], line: int) -> Preference:
        for key in ("chosen", "rejected"):
            if key not in values:
                raise ValueError(f"no {key!r}")
        chosen, rejected = values["chosen"], values["rejected"]
        if isinstance(chosen, list) != isinstance(rejected, list):
            raise ValueError(f"'chosen' is {kind(chosen)}, 'rejected' is {kind(rejected)}; accepted: both of one kind")
        return _of_turns(values, line) if isinstance(chosen, list) else _of_texts(values, line)


def _of_texts(values: Mapping[str, Any], line: int) -> Preference:
    chosen, rejected, prompt = text(values, "chosen"), text(values, "rejected"), values.get("prompt")
    if isinstance(prompt, list):
        return Preference(asking(objects(values, "prompt")), chosen, rejected, line)
    if prompt is not None:
        return Preference(text(values, "prompt"), chosen, rejected, line)
    if chosen == rejected:
        raise ValueError("no 'prompt', and 'chosen' and 'rejected' are the same")
    common = "".join(a for a, _ in takewhile(lambda two: two[0] == two[1], zip(chosen, rejected, strict=False)))
    within = not common[-1:].isspace() and any(each[len(common) :][:1].strip() for each in (chosen, rejected))
    if within:  # a word: back to its start
        common = common[: max(map(common.rfind, " \n\t")) + 1]
    common = common.rstrip()
    if not common:
        raise ValueError("no 'prompt', and 'chosen' and 'rejected' have no beginning in common")
    chosen, rejected = chosen[len(common) :], rejected[len(common) :]
    if not chosen.strip() or not rejected.strip():
        raise ValueError("no 'prompt', and one of 'chosen' and 'rejected' is the beginning of the other")
    return Preference(common, chosen, rejected, line)


def _of_turns(values: Mapping[str, Any], line: int) -> Preference:
    chosen, rejected = objects(values, "chosen"), objects(values, "rejected")
    prompt: list[dict[str, Any]] = []
    if isinstance(values.get("prompt"), list):
        prompt = objects(values, "prompt")
        for turns in (chosen, rejected):
            if len(turns) > len(prompt) and turns[: len(prompt)] == prompt:
                del turns[: len(prompt)]
    else:  # none, or the last question in text, as many have it beside the turns
        common = [a for a, _ in takewhile(lambda two: two[0] == two[1], zip(chosen, rejected, strict=False))]
        if len(common) == len(chosen) == len(rejected):  # the same answers
            del common[-1:]
        if not common and isinstance(values.get("prompt"), str):
            return Preference(
                text(values, "prompt"), read_reply(chosen, "chosen"), read_reply(rejected, "rejected"), line
            )
        if not common:
            raise ValueError("no 'prompt', and 'chosen' and 'rejected' have no beginning in common")
        prompt, chosen, rejected = common, chosen[len(common) :], rejected[len(common) :]
    return Preference(asking(prompt), read_reply(chosen, "chosen"), read_reply(rejected, "rejected"), line)


def asking(turns: list[dict[str, Any]]) -> tuple[Message, ...]:
    """Turns up to where an answer begins. Raises ValueError when it is not the assistant's turn next."""
    read = read_turns(turns)
    if read[-1]["role"] not in ("user", "tool"):
        raise ValueError(f"'prompt' ends with a turn of role {read[-1]['role']!r} (accepted: user, tool)")
    return read
