"""JSON: a line for each object, or one list of objects."""

from __future__ import annotations

import codecs
import json
from collections.abc import Iterator
from typing import Any

from adapterhub.data.row import Found, Row, is_too_deep, is_unicode
from adapterhub.errors import DataError

DEEP = "not JSON: nested too deeply"


def read_jsonl(name: str, content: bytes) -> Iterator[Found]:
    """An object a line; blank lines are passed over."""
    for number, line in enumerate(content.removeprefix(codecs.BOM_UTF8).split(b"\n"), start=1):
        if line.strip():
            yield _object_of_line(name, number, line)


def read_json(name: str, content: bytes) -> Iterator[Found]:
    """A list of objects, counted from 1; lines of JSON, if it begins with an object, as many such files do."""
    content = content.removeprefix(codecs.BOM_UTF8)
    if content.lstrip()[:1] != b"[":
        yield from read_jsonl(name, content)
        return
    try:
        values = json.loads(content.decode())
    except UnicodeDecodeError as error:
        yield DataError(name, content.count(b"\n", 0, error.start) + 1, _not_utf8(content, error.start))
    except json.JSONDecodeError as error:
        yield DataError(name, error.lineno, f"not JSON: {error.msg} at column {error.colno}")
    except RecursionError:
        yield DataError(name, 1, DEEP)
    except ValueError as error:
        yield DataError(name, 1, f"not JSON: {error}")
    else:
        for number, each in enumerate(values, start=1):
            yield _checked(name, number, each)


def _object_of_line(name: str, number: int, line: bytes) -> Found:
    try:
        values = json.loads(line.decode())
    except UnicodeDecodeError as error:
        return DataError(name, number, _not_utf8(line, error.start))
    except json.JSONDecodeError as error:
        return DataError(name, number, f"not JSON: {error.msg} at column {error.colno}")
    except RecursionError:
        return DataError(name, number, DEEP)
    except ValueError as error:  # Python's limit of a number's digits
        return DataError(name, number, f"not JSON: {str(error).partition(';')[0]}")
    return _checked(name, number, values)


def _checked(name: str, number: int, values: Any) -> Found:
    if not isinstance(values, dict):
        return DataError(name, number, f"not a JSON object but {type(values).__name__}")
    if is_too_deep(values):
        return DataError(name, number, DEEP)
    if not is_unicode(values):
        return DataError(name, number, "not Unicode: half of a surrogate pair")
    return Row(number, values)


def _not_utf8(content: bytes, at: int) -> str:
    """Where in its line the first wrong byte is."""
    start = content.rfind(b"\n", 0, at)
    return f"not UTF-8 at byte {at - start}"
