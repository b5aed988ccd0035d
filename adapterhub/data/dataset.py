"""Training data: the records of a JSONL file. Needs no torch."""

from __future__ import annotations

import hashlib
import json
import random
from pathlib import Path
from typing import Any, NamedTuple

from adapterhub.data_format import DataFormat
from adapterhub.errors import DataError, InvalidInputError
from adapterhub.plugins import Registry, load_formats
from adapterhub.records import Chat, Pair, Record, Text


class Dataset(NamedTuple):
    """The records of one file, in its order."""

    source: str
    """What errors call it: the file."""
    sha256: str
    """Digest of the file's bytes, in hex."""
    format: str
    """The name of the format it is in."""
    records: tuple[Record, ...]

    @property
    def pairs(self) -> tuple[Pair, ...]:
        """The records where all are prompts with completions. Raises DataError naming the first that is not."""
        for record in self.records:
            if not isinstance(record, Pair):
                raise DataError(self.source, record.line, "not a prompt with its completion")
        return tuple(record for record in self.records if isinstance(record, Pair))

    def split(self, share: float, seed: int) -> tuple[Dataset, Dataset]:
        """Hold out `share` of the distinct prompts, so that no prompt is on both sides: (train, held out).

        Raises DataError when a side would be empty.
        """
        prompts = list(dict.fromkeys(prompt_of(record) for record in self.records))
        random.Random(seed).shuffle(prompts)  # noqa: S311  not a secret
        count = max(1, round(len(prompts) * share))
        if count >= len(prompts):
            raise DataError(self.source, 1, f"{len(prompts)} distinct prompts are too few to hold some out; need 2")
        chosen = set(prompts[:count])
        train = tuple(record for record in self.records if prompt_of(record) not in chosen)
        held_out = tuple(record for record in self.records if prompt_of(record) in chosen)
        return self._replace(records=train), self._replace(records=held_out)


def prompt_of(record: Record) -> str:
    """What is asked, as one text: equal for records that ask the same. Of plain text, all of it."""
    if isinstance(record, Text):
        return record.text
    if isinstance(record, Chat):
        return json.dumps([dict(turn) for turn in record.turns[:-1]], sort_keys=True)
    return record.prompt if isinstance(record.prompt, str) else json.dumps([dict(turn) for turn in record.prompt])


def read_dataset(path: Path) -> Dataset:
    """Read a JSONL file whose objects are all of one registered format; empty lines are skipped.

    Raises DataError naming the file, the line and what is wrong there.
    """
    if not path.is_file():
        raise InvalidInputError(f"{path}: no such file", field="data")
    raw = path.read_bytes()
    lines = [(number, line) for number, line in enumerate(raw.split(b"\n"), start=1) if line.strip()]
    if not lines:
        raise DataError(path, 1, "no examples in the file")
    objects = [(number, _object(path, number, line)) for number, line in lines]
    data_format = _format(path, *objects[0], load_formats())
    records = tuple(_record(path, number, values, data_format) for number, values in objects)
    return Dataset(str(path), hashlib.sha256(raw).hexdigest(), data_format.name, records)


def _format(path: Path, number: int, values: dict[str, Any], formats: Registry[DataFormat]) -> DataFormat:
    for each in formats.by_name.values():
        if each.recognizes(values):
            return each
    shapes = "; ".join(each.shape for each in formats.by_name.values()) or "none"
    raise DataError(path, number, f"unknown shape, with the keys {', '.join(map(repr, values))} (accepted: {shapes})")


def _record(path: Path, number: int, values: dict[str, Any], data_format: DataFormat) -> Record:
    try:
        return data_format.read(values, number)
    except ValueError as error:
        raise DataError(path, number, str(error)) from None


def _object(path: Path, number: int, line: bytes) -> dict[str, Any]:
    try:
        values = json.loads(line.decode("utf-8"))
    except UnicodeDecodeError as error:
        raise DataError(path, number, f"not UTF-8 at byte {error.start + 1}") from None
    except json.JSONDecodeError as error:
        raise DataError(path, number, f"not JSON: {error.msg} at column {error.colno}") from None
    except RecursionError:
        raise DataError(path, number, "not JSON: nested too deeply") from None
    if not isinstance(values, dict):
        raise DataError(path, number, f"not a JSON object but {type(values).__name__}")
    return values
