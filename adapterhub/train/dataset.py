"""Training data: prompts with their responses out of a JSONL file. Needs no torch."""

from __future__ import annotations

import hashlib
import json
import random
from pathlib import Path
from typing import Any, NamedTuple

from adapterhub.errors import DataError, InvalidInputError, did_you_mean

KEYS = ("completion", "prompt")


class Pair(NamedTuple):
    """One example: what is asked, what is to be answered, and the line it stands on."""

    prompt: str
    completion: str
    line: int


class Dataset(NamedTuple):
    """The pairs of one file, in its order."""

    path: Path
    sha256: str
    """Digest of the file's bytes, in hex."""
    pairs: tuple[Pair, ...]

    def split(self, share: float, seed: int) -> tuple[Dataset, Dataset]:
        """Hold out `share` of the distinct prompts, so that no prompt is on both sides: (train, held out).

        Raises DataError when a side would be empty.
        """
        prompts = list(dict.fromkeys(pair.prompt for pair in self.pairs))
        random.Random(seed).shuffle(prompts)  # noqa: S311  not a secret
        count = max(1, round(len(prompts) * share))
        if count >= len(prompts):
            raise DataError(self.path, 1, f"{len(prompts)} distinct prompts are too few to hold some out; need 2")
        chosen = set(prompts[:count])
        train = tuple(pair for pair in self.pairs if pair.prompt not in chosen)
        held_out = tuple(pair for pair in self.pairs if pair.prompt in chosen)
        return self._replace(pairs=train), self._replace(pairs=held_out)


def read_dataset(path: Path) -> Dataset:
    """Read a JSONL file of {"prompt": text, "completion": text}; empty lines are skipped.

    Raises DataError naming the file, the line and what is wrong there.
    """
    if not path.is_file():
        raise InvalidInputError(f"{path}: no such file", field="data")
    raw = path.read_bytes()
    lines = enumerate(raw.split(b"\n"), start=1)
    pairs = tuple(_pair(path, number, line) for number, line in lines if line.strip())
    if not pairs:
        raise DataError(path, 1, "no examples in the file")
    return Dataset(path, hashlib.sha256(raw).hexdigest(), pairs)


def _pair(path: Path, number: int, line: bytes) -> Pair:
    values = _json(path, number, line)
    if not isinstance(values, dict):
        raise DataError(path, number, f"not a JSON object but {type(values).__name__}")
    for key in sorted(values.keys() - set(KEYS)):
        raise DataError(path, number, f"unknown key {key!r}{did_you_mean(key, KEYS)} (accepted: {', '.join(KEYS)})")
    for key in KEYS:
        if key not in values:
            raise DataError(path, number, f"no {key!r}")
        if not isinstance(values[key], str):
            raise DataError(path, number, f"{key!r} is not text but {type(values[key]).__name__}")
        if not values[key].strip():
            raise DataError(path, number, f"{key!r} is empty")
    return Pair(values["prompt"], values["completion"], number)


def _json(path: Path, number: int, line: bytes) -> Any:
    try:
        return json.loads(line.decode("utf-8"))
    except UnicodeDecodeError as error:
        raise DataError(path, number, f"not UTF-8 at byte {error.start + 1}") from None
    except json.JSONDecodeError as error:
        raise DataError(path, number, f"not JSON: {error.msg} at column {error.colno}") from None
    except RecursionError:
        raise DataError(path, number, "not JSON: nested too deeply") from None
