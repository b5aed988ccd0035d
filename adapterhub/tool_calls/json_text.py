"""JSON in the midst of what a model wrote."""

from __future__ import annotations

import json
from typing import Any, NoReturn


def read_value(text: str, at: int) -> tuple[Any, int]:
    """The JSON value that begins at `at`, behind white space, and where it ends. Raises ValueError."""
    try:
        value, end = _DECODER.raw_decode(text, past_space(text, at))
    except RecursionError:
        raise ValueError("nested too deep") from None
    return value, end


def past_space(text: str, at: int) -> int:
    """Where the white space that begins at `at` ends."""
    while at < len(text) and text[at].isspace():
        at += 1
    return at


def written(value: Any) -> str:
    """The value as JSON that UTF-8 can hold: half of a surrogate pair stays an escape. Raises ValueError."""
    try:
        text = json.dumps(value, ensure_ascii=False)
        text.encode()
    except UnicodeEncodeError:
        return json.dumps(value)
    except RecursionError:
        raise ValueError("nested too deep") from None
    return text


def _refuse(constant: str) -> NoReturn:
    raise ValueError(f"{constant} is no number of JSON's")


_DECODER = json.JSONDecoder(parse_constant=_refuse)
