"""A prompt and its completion, in plain text."""

from __future__ import annotations

from collections.abc import Mapping
from difflib import get_close_matches
from typing import Any

from adapterhub.data_format import DataFormat
from adapterhub.records import Pair

KEYS = ("prompt", "completion")


class PromptCompletion(DataFormat):
    """`{"prompt": text, "completion": text}`."""

    name = "prompt_completion"
    shape = '{"prompt": text, "completion": text}'

    def recognizes(self, values: Mapping[str, Any]) -> bool:
        return "completion" in values or values.keys() == {"prompt"}

    def read(self, values: Mapping[str, Any], line: int) -> Pair:
        for key in sorted(values.keys() - set(KEYS)):
            near = get_close_matches(key, KEYS, n=1)
            meant = f"; did you mean {near[0]!r}?" if near else ""
            raise ValueError(f"unknown key {key!r}{meant} (accepted: {', '.join(sorted(KEYS))})")
        for key in KEYS:
            if key not in values:
                raise ValueError(f"no {key!r}")
            if not isinstance(values[key], str):
                raise ValueError(f"{key!r} is not text but {type(values[key]).__name__}")
            if not values[key].strip():
                raise ValueError(f"{key!r} is empty")
        return Pair(values["prompt"], values["completion"], line)
