"""One line of a tag's log."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Annotated

from pydantic import Field

from adapterhub.config import Config

Held = Annotated[str, Field(pattern="^(sha256:[0-9a-f]{64})?$")]
"""What a tag holds: a digest, or an empty string for nothing."""


class RefMove(Config):
    """A tag moved from `previous` to `digest`; a note of something done with a digest has both the same."""

    at: str
    """UTC time, ISO 8601."""
    digest: Held
    """What the tag holds since; empty when it was removed."""
    previous: Held
    """What it held before; empty when there was none."""
    action: Annotated[str, Field(pattern="^[a-z][a-z-]{0,31}$")]
    """The verb: publish, pull, tag, rollback, rm, push, eval; `found` when nobody logged it."""
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
