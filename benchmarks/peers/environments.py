"""The peers' own virtual environments, in the bench's cache."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path


def python_of(name: str, cache: Path) -> Path:
    """The interpreter of an environment, whether it was made or not."""
    return cache / name / "venv" / "bin" / "python"


def make_all(cache: Path, names: Sequence[str]) -> Iterator[str]:
    """Lines that tell what became of each. One that cannot be made is skipped."""
    raise NotImplementedError
