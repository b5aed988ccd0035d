"""One line of a tag's log, and what a log says of the tag."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Annotated

from pydantic import Field

from adapterhub.config import Config

Held = Annotated[str, Field(pattern="^(sha256:[0-9a-f]{64})?$")]
"""What a tag holds: a digest, or an empty string for nothing."""

FOUND = "found"
"""The action of a move that nobody logged: made by hand, or before there were logs."""


class RefMove(Config):
    """A tag moved from `previous` to `digest`; a note of something done with a digest has both the same."""

    at: str
    """UTC time, ISO 8601."""
    digest: Held
    """What the tag holds since; empty when it was removed."""
    previous: Held
    """What it held before; empty when there was none."""
    action: Annotated[str, Field(pattern="^[a-z][a-z-]{0,31}$")]
    """The verb: publish, pull, tag, rollback, rm, push; `found` when nobody logged it."""
    source: Annotated[str, Field(max_length=500)] = ""
    """Where the content came from or went to, such as `hf:org/repo:main`."""
    commit: Annotated[str, Field(pattern="^([0-9a-f]{40})?$")] = ""
    """The Hub's commit of that."""

    @property
    def is_note(self) -> bool:
        """Whether the tag stayed where it was."""
        return self.digest == self.previous

    def repeats(self, earlier: RefMove) -> bool:
        """Whether it says nothing new after `earlier`."""
        same = (earlier.digest, earlier.action, earlier.source, earlier.commit)
        return self.is_note and same == (self.digest, self.action, self.source, self.commit)


def now() -> str:
    """This moment as `RefMove.at`."""
    return datetime.now(UTC).isoformat(timespec="milliseconds")


def reached(moves: Sequence[RefMove]) -> str:
    """What the tag holds after `moves`."""
    return next((move.digest for move in reversed(moves) if not move.is_note), "")


def settled(logged: Sequence[RefMove], held: str, *, since: str) -> tuple[RefMove, ...]:
    """The moves that took place, of a tag that holds `held`.

    A line is on disk before its ref. After a crash in between, the last move leads away from what the
    tag still holds: it did not happen, and is left out. Where the log leads elsewhere, the tag was moved
    without it, at `since` as far as is known; that is added as a move `found`.
    """
    end = reached(logged)
    if end == held:
        return tuple(logged)
    last = next((move for move in reversed(logged) if not move.is_note), None)
    if last is not None and last.previous == held:
        return tuple(move for move in logged if move is not last)
    return (*logged, RefMove(at=since, digest=held, previous=end, action=FOUND))
