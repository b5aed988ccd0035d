"""General data mixed in with what is trained on, so that the base forgets less."""

from __future__ import annotations

import hashlib
import random
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple, Self

from adapterhub.base import BaseModel
from adapterhub.data import Dataset, read_dataset
from adapterhub.encoder import IGNORED, Encoder, Example, Shortened
from adapterhub.errors import ConfigError, DataError, InvalidInputError
from adapterhub.objective import LossObjective
from adapterhub.plugins import load_objectives
from adapterhub.records import KINDS, Chat, Pair, Record, Text
from adapterhub.train.bare_base import BareBase
from adapterhub.train.config import TrainConfig
from adapterhub.train.goal import Goal
from adapterhub.train.probe import Probe, paragraphs_of

PLAIN = (".md", ".txt")
"""Suffixes of plain text; all other files hold records."""
MAX_TOKENS = 128
"""Of a row of plain text: many times the tokens of a short response already, which it would drown."""


class Mixed(NamedTuple):
    """Training rows with replayed ones among them."""

    rows: list[Any]
    record: Mapping[str, Any]
    """For the adapter's record."""


@dataclass(frozen=True)
class Replay:
    """The general data of a run, read and not yet encoded."""

    dataset: Dataset
    goal: Goal
    share: float
    """Of all rows that are trained on."""
    seed: int

    @classmethod
    def of(cls, config: TrainConfig, goal: Goal) -> Self | None:
        """As `config` asks for it; None where it does not.

        Raises ConfigError for an objective that brings a trainer of its own, InvalidInputError when there is no such
        file, and DataError naming the line of what cannot be replayed.
        """
        if config.replay is None:
            return None
        if not isinstance(goal.objective, LossObjective):
            known = load_objectives().by_name.items()
            accepted = ", ".join(sorted(name for name, each in known if isinstance(each, LossObjective)))
            name = goal.objective.name
            raise ConfigError(f"replay: objective {name} takes none (accepted: {accepted})", field="replay")
        if not config.replay.is_file():
            raise InvalidInputError(f"{config.replay}: no such file", field="replay")
        dataset = _plain(config.replay) if config.replay.suffix in PLAIN else read_dataset(config.replay)
        for record in dataset.records:
            if not isinstance(record, Text | Pair | Chat):
                raise DataError(dataset.source, record.line, f"replay takes no {KINDS[type(record)]}")
        return cls(dataset, goal, config.replay_share, config.seed)

    def count(self, rows: int) -> int:
        """How many rows are replayed beside so many others."""
        return max(1, round(rows * self.share / (1 - self.share)))

    def mix(self, rows: Sequence[Any], encoder: Encoder, base: BaseModel, probe: Probe) -> Mixed:
        """`rows` with replayed ones among them, in an order that the seed decides.

        Where there are too few of them, they are repeated. Raises DataError for a record that is too long, or that
        holds a paragraph of `probe`: what is trained on would be measured.
        """
        chance = random.Random(self.seed)  # noqa: S311  not a secret
        records = chance.sample(self.dataset.records, len(self.dataset.records))
        encoder = replace(encoder, source=self.dataset.source, shortened=Shortened())
        wanted, used = self.count(len(rows)), 0
        found: list[Any] = []
        while len(found) < wanted and used < len(records):
            part = records[used : used + wanted]
            self._check(part, probe)
            found += self._encode(part, encoder, base)
            used += len(part)
        if not found:
            raise DataError(self.dataset.source, 1, "too little text to replay")
        replayed = [found[index % len(found)] for index in range(wanted)]
        record = {
            "sha256": self.dataset.sha256,
            "format": self.dataset.format,
            "examples": used,
            "rows": wanted,
            "share": round(wanted / (wanted + len(rows)), 4),
            "share_of_learned_tokens": round(_learned(replayed) / _learned([*replayed, *rows]), 4),
        }
        mixed = [*rows, *replayed]
        chance.shuffle(mixed)
        return Mixed(mixed, record)

    def _check(self, records: Sequence[Record], probe: Probe) -> None:
        for record in records:
            if probe.holds(_text_of(record)):
                raise DataError(
                    self.dataset.source,
                    record.line,
                    "holds a paragraph of the text that forgetting is measured on; leave it out, or give another probe",
                )

    def _encode(self, records: Sequence[Record], encoder: Encoder, base: BaseModel) -> Iterator[Any]:
        """As the objective does, where it learns from such records; else plain text and responses, as they are."""
        objective, options = self.goal.loss, self.goal.options
        own = [record for record in records if isinstance(record, objective.records)]
        others = [record for record in records if not isinstance(record, objective.records)]
        if own:
            yield from objective.prepare(options, own, encoder, BareBase(base))
        for record in others:
            rows = list(_rows(record, encoder))
            if not rows and isinstance(record, Text):
                continue  # of a single token
            if not (rows and self._takes(rows[:1])):
                problem = f"objective {objective.name} replays no {KINDS[type(record)]}"
                raise encoder.error(record.line, problem if not rows else f"{problem}: its rows hold more than tokens")
            yield from rows

    def _takes(self, rows: list[Example]) -> bool:
        """Whether the objective's batches can hold rows of tokens and labels alone, tried out."""
        try:
            self.goal.loss.collate(self.goal.options, rows)
        except (KeyError, TypeError, ValueError):
            return False
        return True


def _plain(path: Path) -> Dataset:
    raw = path.read_bytes()
    records = tuple(Text(text, line) for line, text in paragraphs_of(path, raw))
    if not records:
        raise DataError(path, 1, "no text in the file")
    return Dataset(str(path), hashlib.sha256(raw).hexdigest(), "text", records)


def _rows(record: Record, encoder: Encoder) -> Iterator[Example]:
    """A record as rows of tokens; none of a kind that has no such rows."""
    if isinstance(record, Text):
        yield from _pieces(record, encoder)
    elif isinstance(record, Pair | Chat):
        yield from encoder.rows(record)


def _pieces(record: Text, encoder: Encoder) -> Iterator[Example]:
    """All of a text, every token but a piece's first to be learned; a single token over is left out."""
    ids = list(encoder.tokenizer(record.text)["input_ids"])
    size = min(MAX_TOKENS, encoder.max_length, encoder.room or MAX_TOKENS)
    for start in range(0, len(ids) - 1, size):
        piece = ids[start : start + size]
        if len(piece) > 1:
            yield Example(input_ids=piece, labels=[IGNORED, *piece[1:]])


def _text_of(record: Record) -> str:
    if isinstance(record, Text):
        return record.text
    if isinstance(record, Chat):
        return "\n".join(str(turn.get("content", "")) for turn in record.turns)
    assert isinstance(record, Pair)
    return f"{record.prompt}\n{record.completion}"


def _learned(rows: Sequence[Any]) -> int:
    return sum(label != IGNORED for row in rows for label in row["labels"])
