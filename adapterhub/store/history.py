"""What the log of a tag says."""

from __future__ import annotations

from collections.abc import Sequence

from adapterhub.errors import AdapterNotFoundError
from adapterhub.store.ref import AdapterRef
from adapterhub.store.ref_move import RefMove

FOUND = "found"
"""The action of a move that nobody logged: made by hand, or before there were logs."""


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


def held_before(moves: Sequence[RefMove], *, ref: AdapterRef) -> str:
    """What a tag held before its last move. Raises AdapterNotFoundError when that was nothing."""
    before = next((move.previous for move in reversed(moves) if not move.is_note), "")
    if not before:
        raise AdapterNotFoundError(f"{ref.label}: held nothing before", resource=str(ref))
    return before


def held_once(moves: Sequence[RefMove], digest: str, *, ref: AdapterRef) -> str:
    """The one digest a tag ever held that is `digest` or starts with it. Raises AdapterNotFoundError."""
    wanted = digest.removeprefix("sha256:")
    held = sorted({held for move in moves if not move.is_note for held in (move.previous, move.digest) if held})
    found = [each for each in held if each.removeprefix("sha256:").startswith(wanted)]
    if len(found) != 1:
        known = ", ".join(held) or "nothing"
        many = "several digests" if found else "no digest"
        raise AdapterNotFoundError(f"{ref.label}: held {many} {digest!r}; it held {known}", resource=str(ref))
    return found[0]
