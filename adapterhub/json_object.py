"""A JSON object that nobody vouches for, within limits that keep whatever is done with it cheap.

`json` takes more than JSON: NaN and infinities, a name twice, halves of surrogate pairs, numbers of
thousands of digits, and nesting up to what the stack holds, on which a later `repr` or `dumps` ends.
"""

from __future__ import annotations

import json
import math
from typing import Any, NoReturn

MAX_DEPTH = 32
"""Objects and lists in each other."""
MAX_ENTRIES = 1 << 14
"""Of one object or list."""
MAX_CONTAINERS = 1 << 16
"""Objects and lists in all, by their brackets: an empty one takes thirty times the two bytes it is written with."""
MAX_DIGITS = 40
"""Characters of one number as it is written."""


def load_object(raw: bytes) -> dict[str, Any]:
    """The object that `raw` holds, as UTF-8. Raises ValueError saying why it is none, or what is over a limit."""
    if raw.count(b"{") + raw.count(b"[") > MAX_CONTAINERS:
        raise ValueError(f"more than {MAX_CONTAINERS} objects and lists")
    try:
        text = raw.decode()
        values = json.loads(
            text,
            object_pairs_hook=_no_duplicates,
            parse_constant=_refuse_constant,
            parse_float=_finite,
            parse_int=_whole,
        )
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise ValueError(f"not JSON: {error}") from None
    except RecursionError:
        raise ValueError(f"nested more than {MAX_DEPTH} deep") from None
    if not isinstance(values, dict):
        raise ValueError("not a JSON object")
    _check_size(values)
    if "\\u" in text:
        _check_text(values)
    return values


def _check_text(values: dict[str, Any]) -> None:
    try:
        json.dumps(values, ensure_ascii=False).encode()
    except UnicodeEncodeError:
        raise ValueError("text with half of a surrogate pair") from None


def _check_size(values: dict[str, Any]) -> None:
    """Level by level: recursion would end where the nesting is too deep."""
    level: list[dict[str, Any] | list[Any]] = [values]
    for _ in range(MAX_DEPTH):
        for each in level:
            if len(each) > MAX_ENTRIES:
                raise ValueError(f"{len(each)} entries in one object or list, at most {MAX_ENTRIES} are accepted")
        inner = [child for each in level for child in (each.values() if isinstance(each, dict) else each)]
        level = [child for child in inner if isinstance(child, dict | list)]
        if not level:
            return
    raise ValueError(f"nested more than {MAX_DEPTH} deep")


def _no_duplicates(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    result = dict(pairs)
    if len(result) != len(pairs):
        raise ValueError("a name stands twice")
    return result


def _refuse_constant(text: str) -> NoReturn:
    raise ValueError(f"{text} is no number of JSON's")


def _finite(text: str) -> float:
    if len(text) > MAX_DIGITS or not math.isfinite(value := float(text)):
        raise ValueError(f"the number {text[:MAX_DIGITS]} is too long, or too large")
    return value


def _whole(text: str) -> int:
    if len(text) > MAX_DIGITS:
        raise ValueError(f"the number {text[:MAX_DIGITS]}... is too long")
    return int(text)
