"""Two answers to a prompt, of which one is better."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from adapterhub.data_format import DataFormat
from adapterhub.records import Preference


class PreferenceFormat(DataFormat):
    """`{"prompt": ..., "chosen": text, "rejected": text}`, the prompt in text or in turns."""

    name = "preference"
    shape = '{"prompt": text or turns, "chosen": text, "rejected": text}'

    def recognizes(self, values: Mapping[str, Any]) -> bool:
        return "chosen" in values or "rejected" in values

    def read(self, values: Mapping[str, Any], line: int) -> Preference:
        for key in ("prompt", "chosen", "rejected"):
            if key not in values:
                raise ValueError(f"no {key!r}")
        prompt = values["prompt"]
        turns = tuple(prompt) if isinstance(prompt, list) else str(prompt)
        return Preference(turns, str(values["chosen"]), str(values["rejected"]), line)
