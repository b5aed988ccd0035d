"""What of the store came from the Hub, beside what the Hub has now."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from adapterhub.errors import AuthError, IntegrityError, NotFoundError, UnavailableError
from adapterhub.hub import remote
from adapterhub.hub.client import hub_client
from adapterhub.hub.result import Freshness, Outdated
from adapterhub.store import AdapterRef, Store


def outdated(store: Store) -> tuple[Outdated, ...]:
    """Every tag that was pulled or pushed, in order; each revision is asked for once.

    What cannot be reached is said, not raised; after the first that is unreachable the Hub is not asked again.
    """
    with hub_client():
        return tuple(_compared(store))


def _compared(store: Store) -> Iterator[Outdated]:
    heads: dict[str, _Head] = {}
    down = _Head("", "unreachable", "HF_HUB_OFFLINE is set") if remote.is_offline() else None
    for label in store.labels():
        try:
            ref = store.pin(label)
            moves = store.history(ref)
        except (IntegrityError, NotFoundError):  # damaged, which `verify` tells, or removed meanwhile
            continue
        last = next((move for move in reversed(moves) if move.source.startswith("hf:")), None)
        if last is None:
            continue
        if last.source not in heads:
            heads[last.source] = down or _head(last.source)
            if heads[last.source].state == "unreachable":
                down = heads[last.source]
        head, state, reason = heads[last.source]
        if head:
            state = "changed here" if ref.digest != last.digest else "up to date" if head == last.commit else "behind"
        yield Outdated(ref, last.source, last.commit, head, state, reason)


class _Head(NamedTuple):
    """What a revision is on the Hub now."""

    commit: str
    """Empty when there is none to be had; `state` and `reason` say why."""
    state: Freshness
    reason: str = ""


def _head(source: str) -> _Head:
    try:
        ref = AdapterRef.parse(source)
        return _Head(remote.resolve(ref.name, ref.tag), "up to date")
    except (NotFoundError, AuthError) as error:
        return _Head("", "gone", str(error))
    except UnavailableError as error:
        return _Head("", "unreachable", str(error))
