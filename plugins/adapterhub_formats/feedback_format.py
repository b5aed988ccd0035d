"""A rated answer to a prompt."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from adapterhub.data_format import DataFormat
from adapterhub.records import Feedback


class FeedbackFormat(DataFormat):
    """`{"prompt": ..., "completion": text, "label": true or false}`, the prompt in text or in turns."""

    name = "feedback"
    shape = '{"prompt": text or turns, "completion": text, "label": true or false}'

    def recognizes(self, values: Mapping[str, Any]) -> bool:
        return "label" in values

    def read(self, values: Mapping[str, Any], line: int) -> Feedback:
        for key in ("prompt", "completion", "label"):
            if key not in values:
                raise ValueError(f"no {key!r}")
        prompt = values["prompt"]
        turns = tuple(prompt) if isinstance(prompt, list) else str(prompt)
        return Feedback(turns, str(values["completion"]), bool(values["label"]), line)
