"""A little general English, the same everywhere: what an adapter changes beyond its task is measured on it.

Plain statements of many kinds, none of them near the shipped tasks. Needs no torch.
"""

from __future__ import annotations

import hashlib

GENERAL_TEXT = (
    "The river rises in the hills to the north and runs slowly through three towns before it reaches the sea. In "
    "spring, when the snow melts, the meadows on both banks stand under water for a week or two.",
    "Bread needs only flour, water, salt and time. The dough is left to rise until it has doubled, shaped with wet "
    "hands, and baked in a hot oven until the crust is brown and sounds hollow.",
    "If a train leaves at nine and travels eighty kilometres in an hour, it will have covered two hundred kilometres "
    "by half past eleven, provided that it does not stop on the way.",
    "She closed the book, looked out of the window for a while, and said that she did not believe a word of it. Her "
    "brother laughed and asked her to read the last chapter again.",
    "A cell is surrounded by a thin membrane that lets some substances pass and keeps others out. Inside it, small "
    "structures turn sugar and oxygen into the energy that the cell lives on.",
    "The council met on Tuesday evening to discuss the new bridge. After two hours it was decided to ask a second "
    "engineer for an opinion and to vote on the plan in the autumn.",
)
"""Paragraphs, each measured by itself."""


def general_text_digest() -> str:
    """`sha256:` digest of the paragraphs, joined by line ends."""
    return f"sha256:{hashlib.sha256(chr(10).join(GENERAL_TEXT).encode()).hexdigest()}"
