"""What is asked, of whom: before any reference is resolved and any text is tokens."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from adapterhub.prompt_format import FormatKind, Turn
from adapterhub.structure import Structure

Prompt = str | tuple[int, ...] | tuple[Turn, ...]
"""Text, token ids, or the turns of a chat."""


@dataclass(frozen=True)
class Question:
    """One question to one adapter."""

    prompt: Prompt
    adapter: str = ""
    """A reference; empty for the bare base."""
    sampling: Mapping[str, Any] = field(default_factory=dict)
    """Fields of the engine's `Sampling` that are given."""
    kind: FormatKind | None = None
    """Instead of the adapter's recorded prompt format."""
    system_prompt: str | None = None
    """The system turn of that format."""
    structure: Structure | None = None
    """What the text must be."""
    blend: tuple[tuple[str, float], ...] = ()
    """References and weights, in place of an adapter."""

    @property
    def refs(self) -> tuple[str, ...]:
        """Every reference in it."""
        return (*([self.adapter] if self.adapter else []), *(ref for ref, _ in self.blend))

    @property
    def answerer(self) -> str:
        """How results name who answered; empty for the bare base."""
        return "".join(f"{weight:+g}*{ref}" for ref, weight in self.blend).removeprefix("+") or self.adapter
