"""What a plugin gives to choose an adapter by the prompt: a router."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import ClassVar, NamedTuple

from adapterhub.adapter import Provenance


@dataclass(frozen=True)
class Candidate:
    """An adapter that may be picked."""

    name: str
    """`[namespace/]name`, whose tag `latest` holds it."""
    digest: str
    provenance: Provenance
    """How it came to be; its `prompt_signature` tells what it was trained on."""


class Pick(NamedTuple):
    """The candidate of that name, and how sure the router is."""

    name: str
    score: float
    """The router's own measure; it is told in the server's log at level DEBUG."""


PickPrompt = Callable[[str], Pick | None]
"""Picks for a prompt; None leaves it to the bare base."""


class PromptRouter(ABC):
    """Picks an adapter for requests that name none. Subclass, set `name`, and give `fit`."""

    name: ClassVar[str]
    """What operators type: `--router similarity`."""

    @abstractmethod
    def fit(self, candidates: Sequence[Candidate]) -> PickPrompt:
        """What picks among these candidates, of which there is at least one.

        Called when the store's adapters change, and for each set of adapters that an API key may use. The
        server calls what it returns from several threads, once for each request: it must be quick, and
        change nothing. An exception of either fails the request that met it.
        """
