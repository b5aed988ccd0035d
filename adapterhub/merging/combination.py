"""How adapters are combined into one. Needs no torch."""

from __future__ import annotations

from typing import Literal, NamedTuple, Self, get_args

from pydantic import Field, model_validator

from adapterhub.adapter import Adapter
from adapterhub.config import Config
from adapterhub.errors import InvalidInputError
from adapterhub.store import AdapterRef, Store

CombinationKind = Literal[
    "cat",
    "linear",
    "svd",
    "ties",
    "ties_svd",
    "dare_linear",
    "dare_linear_svd",
    "dare_ties",
    "dare_ties_svd",
    "magnitude_prune",
    "magnitude_prune_svd",
]
"""PEFT's own names."""
KINDS: tuple[CombinationKind, ...] = get_args(CombinationKind)


class Combination(Config):
    """What PEFT's `add_weighted_adapter` is asked for, and the seed of what it draws."""

    kind: CombinationKind | None = None
    """Which; by default cat, and for IA3, which has only this one, linear."""
    density: float | None = Field(default=None, gt=0, le=1)
    """Share of each adapter's values that is kept, of ties, dare and magnitude_prune."""
    rank: int | None = Field(default=None, ge=1)
    """Rank of the new adapter, of svd; by default the largest of theirs."""
    seed: int | None = Field(default=None, ge=0, lt=2**32)
    """Decides which values dare drops; by default 0."""

    @property
    def draws(self) -> bool:
        """Whether chance has a part in it."""
        return (self.kind or "").startswith("dare")

    @model_validator(mode="after")
    def _together(self) -> Self:
        kind = self.kind or "cat"
        prunes = kind.startswith(("ties", "dare", "magnitude_prune"))
        if prunes and self.density is None:
            raise ValueError(f"density: {kind} needs one, the share of values that is kept")
        for name, takes in {"density": prunes, "rank": kind.endswith("svd"), "seed": self.draws}.items():
            if getattr(self, name) is not None and not takes:
                raise ValueError(f"{name}: does not go with {kind}")
        return self


class Part(NamedTuple):
    """One of the adapters that are combined."""

    ref: AdapterRef
    """Pinned to its digest."""
    adapter: Adapter
    weight: float

    @classmethod
    def parse(cls, text: str, store: Store) -> Self:
        """`REF=WEIGHT`, out of the store. Raises InvalidInputError, and as `Store.resolve`."""
        name, equals, number = text.rpartition("=")
        try:
            weight = float(number) if equals else None
        except ValueError:
            weight = None
        if weight is None or not abs(weight) < float("inf"):
            raise InvalidInputError(f"{text!r} is not REF=WEIGHT, such as team/tickets=0.7", field="ref")
        ref = store.pin(name)
        return cls(ref, store.resolve(ref), weight)
