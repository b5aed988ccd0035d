"""An answer before and after training. Needs no torch."""

from __future__ import annotations

from typing import NamedTuple


class Sample(NamedTuple):
    """A held-out prompt, what was to be answered, and what is: greedily, and cut where it is long."""

    prompt: str
    """As the data have it; of a conversation its turns, each behind its role."""
    expected: str
    base: str
    """Of the bare base."""
    adapter: str
    """Of the base with the adapter that was kept."""
