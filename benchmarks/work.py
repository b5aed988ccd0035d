"""One part of the bench: what it does, and what it makes of the figures."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, NamedTuple, Protocol

AdapterDtype = Literal["float32", "bfloat16"]


@dataclass(frozen=True)
class Bench:
    """What all parts of one run of the bench share."""

    output: Path
    """Folder of the results; the drivers' logs are under it."""
    cache: Path
    """What is made once: environments, adapters, exports."""
    base: str = "smollm2-135m"
    """As `adapterhub.base` resolves it."""
    rounds: int = 3
    contenders: tuple[str, ...] | None = None
    """Those that take part, by name; None is all that are there."""
    adapter_dtype: AdapterDtype = "float32"
    """Of the adapters' files."""
    say: Callable[[str], None] = print
    """Tells people how far the run is."""

    @property
    def logs(self) -> Path:
        return self.output / "logs"


class Curve(NamedTuple):
    """A line of a plot."""

    label: str
    x: list[float]
    y: list[float]


class Plot(NamedTuple):
    """One panel."""

    x_label: str
    y_label: str
    curves: list[Curve]


class Goal(NamedTuple):
    """What a figure is to be."""

    what: str
    figure: float | None
    """None where it could not be measured."""
    bound: float
    at_most: bool = False
    """The figure is not to be above the bound, instead of below it."""

    @property
    def reached(self) -> bool | None:
        if self.figure is None:
            return None
        return self.figure <= self.bound if self.at_most else self.figure >= self.bound


class Work(Protocol):
    """A part of the bench; `works/` holds one in each file."""

    @property
    def name(self) -> str:
        """The command's: w1."""
        ...

    @property
    def title(self) -> str:
        """One line, which heads the table."""
        ...

    def run(self, bench: Bench) -> dict[str, Any]:
        """Measure. Everything that was measured, raw rounds too, as JSON can say it."""
        ...

    def table(self, found: dict[str, Any]) -> list[str]:
        """Lines of Markdown, from what `run` gave and nothing else."""
        ...

    def goals(self, found: dict[str, Any]) -> list[Goal]:
        """What the project wants of it; ratios only, so that they hold for other machines too."""
        ...

    def plot(self, found: dict[str, Any]) -> Plot | None:
        """None where a picture says nothing."""
        ...
