"""`-o KEY=VALUE` on the command line."""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Any

from adapterhub.errors import ConfigError


def parse_options(words: Iterable[str]) -> dict[str, Any]:
    """`key=value` words; a value that is JSON is read as such, any other is text."""
    found: dict[str, Any] = {}
    for word in words:
        key, equals, value = word.partition("=")
        if not equals or not key:
            raise ConfigError(f"option: {word!r} is not KEY=VALUE", field="option")
        if key in found:
            raise ConfigError(f"option: {key!r} is given twice", field="option")
        try:
            found[key] = json.loads(value)
        except ValueError:
            found[key] = value
    return found
