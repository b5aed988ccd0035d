"""Training data: the records of one data set. Needs no torch."""

from __future__ import annotations

import json
import random
from typing import NamedTuple

from adapterhub.errors import DataError
from adapterhub.records import Chat, Pair, Record, Text


class Dataset(NamedTuple):
    """The records of one file, or of one split on the Hub, in its order."""

    source: str
    """What errors call it: the file."""
    sha256: str
    """Digest of the file's bytes, in hex; of several files, that of their digests in order."""
    format: str
    """The name of the format it is in."""
    records: tuple[Record, ...]
    hub: str = ""
    """`hf:org/name@commit:config/split`, with the 40-hex commit; empty for a file here."""
    unused: tuple[str, ...] = ()
    """Columns that the format does not read."""

    @property
    def pairs(self) -> tuple[Pair, ...]:
        """The records where all are prompts with completions. Raises DataError naming the first that is not."""
        for record in self.records:
            if not isinstance(record, Pair):
                raise DataError(self.source, record.line, "not a prompt with its completion")
        return tuple(record for record in self.records if isinstance(record, Pair))

    def split(self, share: float, seed: int) -> tuple[Dataset, Dataset]:
        """Hold out `share` of the distinct prompts: (train, held out).

        No prompt is on both sides, nor one that differs in case and spacing only. Raises DataError when a side would
        be empty.
        """
        asked = [normal(prompt_of(record)) for record in self.records]
        prompts = list(dict.fromkeys(asked))
        random.Random(seed).shuffle(prompts)  # noqa: S311  not a secret
        count = max(1, round(len(prompts) * share))
        if count >= len(prompts):
            raise DataError(self.source, 1, f"{len(prompts)} distinct prompts are too few to hold some out; need 2")
        chosen = set(prompts[:count])
        sides: tuple[list[Record], list[Record]] = ([], [])
        for record, prompt in zip(self.records, asked, strict=True):
            sides[prompt in chosen].append(record)
        return self._replace(records=tuple(sides[0])), self._replace(records=tuple(sides[1]))


def prompt_of(record: Record) -> str:
    """What is asked, as one text: equal for records that ask the same. Of plain text, all of it."""
    if isinstance(record, Text):
        return record.text
    if isinstance(record, Chat):
        return _turns(record.turns[:-1])
    return record.prompt if isinstance(record.prompt, str) else _turns(record.prompt)


def normal(text: str) -> str:
    """Text without what hides that two are the same: case and spacing."""
    return " ".join(text.casefold().split())


def _turns(turns: object) -> str:
    """Values that Parquet has and JSON has not are written as they print."""
    assert isinstance(turns, tuple)
    return json.dumps([dict(turn) for turn in turns], sort_keys=True, ensure_ascii=False, default=str)
