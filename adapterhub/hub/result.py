"""What came of a pull, a push, a look at the Hub."""

from __future__ import annotations

from typing import Literal, NamedTuple

from adapterhub.store import AdapterRef

Freshness = Literal["up to date", "behind", "changed here", "gone", "unreachable"]


class Pulled(NamedTuple):
    """An adapter of the Hub that is in the store now."""

    ref: AdapterRef
    """Pinned to its digest."""
    source: str
    """`hf:org/repo:revision`."""
    commit: str
    """40 hex digits."""
    method: str
    base: str
    """The base it was checked against; empty when there was none."""
    warnings: tuple[str, ...]
    cached: str = ""
    """Why it came out of the cache alone, without the Hub; empty when the Hub answered."""


class PushedFile(NamedTuple):
    """A file of the adapter, beside what the Hub has."""

    name: str
    size: int
    """Bytes; 0 when it is removed."""
    change: Literal["new", "changed", "same", "removed"]


class Pushed(NamedTuple):
    """A push, made or only planned."""

    repo: str
    revision: str
    parent: str
    """The commit it goes on; empty when the repo is not there yet."""
    commit: str
    """The commit that holds it; empty when it was only planned."""
    files: tuple[PushedFile, ...]
    card: str
    """The whole card."""
    card_diff: str
    """Against the card that is there, as a unified diff; empty when nothing changes."""
    digest: str
    """What a pull of it will be pinned to."""

    @property
    def changes(self) -> bool:
        return any(file.change != "same" for file in self.files)


class Outdated(NamedTuple):
    """One tag of the store beside the revision it came from."""

    ref: AdapterRef
    """Pinned to its digest."""
    source: str
    commit: str
    """What the store has."""
    head: str
    """What the Hub has now; empty when it is gone or unreachable."""
    state: Freshness
    reason: str = ""
    """Why it is gone or unreachable."""
