"""An answer to a prompt, and whether it is a good one: TRL's "unpaired preference", for KTO."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from adapterhub.data_format import DataFormat
from adapterhub.records import Feedback
from adapterhub_formats.fields import kind, objects, text
from adapterhub_formats.preference_format import asking
from adapterhub_formats.turns import read_reply

LABELS = {"true": True, "false": False}
"""In a file of text alone, such as CSV."""


class FeedbackFormat(DataFormat):
    """`{"prompt": ..., "completion": ..., "label": true or false}`, prompt and completion in text or in turns."""

    name = "feedback"
    shape = '{"prompt": text or turns, "completion": text or turns, "label": true or false}'
    keys = ("prompt", "completion", "label")

    def recognizes(self, values: Mapping[str, Any]) -> bool:
        """A label that is no truth value is a column of something else."""
        return {"completion", "label"} <= values.keys() and _label(values["label"]) is not None

    def read(self, values: Mapping[str, Any], line: int) -> Feedback:
        if "label" not in values:
            raise ValueError("no 'label'")
        if (good := _label(values["label"])) is None:
            raise ValueError(f"'label' is not true or false but {kind(values['label'])}")
        prompt: Any = (
            asking(objects(values, "prompt")) if isinstance(values.get("prompt"), list) else text(values, "prompt")
        )
        if isinstance(values.get("completion"), list):
            return Feedback(prompt, read_reply(objects(values, "completion"), "completion"), good, line)
        return Feedback(prompt, text(values, "completion"), good, line)


def _label(value: Any) -> bool | None:
    """True or false; None for what is neither."""
    if isinstance(value, str):
        return LABELS.get(value.strip().lower())
    return value if isinstance(value, bool) else None
