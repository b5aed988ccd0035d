"""Several adapters at once: the base's rows, and the weighted sum of what each adapter changes of them."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

from adapterhub.adapter import Adapter
from adapterhub.errors import InvalidInputError
from adapterhub.prompt_format import PromptFormat

BLEND = "blend"
"""What stands for the method of all blends."""
MAX_ADAPTERS = 8
MAX_WEIGHT = 4.0


class Share(NamedTuple):
    """One of a blend's adapters."""

    adapter: Adapter
    weight: float
    """What its change is multiplied with."""


@dataclass(frozen=True)
class Blend:
    """Served in an adapter's place: at every module, y + sum over the shares of weight * (the adapter's y' - y).

    Made by `of`, which checks it.
    """

    shares: tuple[Share, ...]
    """By digest, so that the same blend is the same however it was asked for."""

    method_name = BLEND

    @classmethod
    def of(cls, shares: Sequence[tuple[Adapter, float]]) -> Blend:
        """Raises InvalidInputError naming the field of the request, by the given order."""
        check_size(len(shares))
        seen: set[str] = set()
        for index, (adapter, weight) in enumerate(shares):
            check_weight(weight, index)
            if adapter.digest in seen:
                field = f"blend.adapters.{index}.adapter"
                raise InvalidInputError(
                    f"{field}: {adapter.digest} is in the blend already; add the weights", field=field
                )
            seen.add(adapter.digest)
        by_digest = sorted(shares, key=lambda share: share[0].digest)
        return cls(tuple(Share(adapter, float(weight) + 0.0) for adapter, weight in by_digest))  # + 0.0: no -0.0

    @property
    def adapters(self) -> tuple[Adapter, ...]:
        return tuple(share.adapter for share in self.shares)

    @cached_property
    def digest(self) -> str:
        """sha256 over a line `digest weight` for each share; the weights in hexadecimal, so that no bit is lost."""
        lines = [f"{BLEND}\n", *(f"{adapter.digest} {weight.hex()}\n" for adapter, weight in self.shares)]
        return f"sha256:{hashlib.sha256(''.join(lines).encode()).hexdigest()}"

    @property
    def name(self) -> str:
        return f"{BLEND} {self.digest}"

    @property
    def nbytes(self) -> int:
        """Bytes of its adapters' tensors; about what it takes, as these stand behind one another in it."""
        return sum(adapter.nbytes for adapter in self.adapters)

    @property
    def prompt_format(self) -> PromptFormat | None:
        """The one that all its adapters recorded, or None where none did.

        Raises InvalidInputError when they differ: the request has to bring one.
        """
        first, *others = (adapter.prompt_format for adapter in self.adapters)
        if any(other != first for other in others):
            raise InvalidInputError(
                "prompt_format: the blend's adapters were trained with different ones; the request must bring its own",
                field="prompt_format",
            )
        return first


Servable = Adapter | Blend
"""What a request's digest may stand for."""


def parts(servable: Servable) -> tuple[Adapter, ...]:
    """Whose tensors are read for it."""
    return servable.adapters if isinstance(servable, Blend) else (servable,)


def check_size(count: int) -> None:
    """Raises InvalidInputError when a blend cannot have so many adapters."""
    if not 0 < count <= MAX_ADAPTERS:
        raise InvalidInputError(f"blend.adapters: {count} (accepted: 1 to {MAX_ADAPTERS})", field="blend.adapters")


def check_weight(weight: float, index: int) -> None:
    """Raises InvalidInputError naming the field when a weight, of the share `index`, is out of range or no number."""
    if not -MAX_WEIGHT <= weight <= MAX_WEIGHT:
        field = f"blend.adapters.{index}.weight"
        raise InvalidInputError(f"{field}: {weight} (accepted: -{MAX_WEIGHT:g} to {MAX_WEIGHT:g})", field=field)
