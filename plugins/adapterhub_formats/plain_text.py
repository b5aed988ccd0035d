"""Plain text, a document in each object."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from adapterhub.data_format import DataFormat
from adapterhub.records import Text
from adapterhub_formats.fields import text


class PlainText(DataFormat):
    """`{"text": text}`."""

    name = "text"
    shape = '{"text": text}'
    keys = ("text",)

    def recognizes(self, values: Mapping[str, Any]) -> bool:
        return "text" in values

    def read(self, values: Mapping[str, Any], line: int) -> Text:
        return Text(text(values, "text"), line)
