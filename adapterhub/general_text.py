"""A little general English, the same everywhere: what an adapter changes beyond its task is measured on it.

Plain statements of many kinds, none of them near the shipped tasks. Needs no torch.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable

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
    "To find the mean of a list of numbers, add them up and divide by how many there are. The median is the one in the "
    "middle once they are sorted, and a single very large number does not move it.",
    "Good morning. I am writing to say that I shall be away from the third to the tenth of June. In urgent cases "
    "please call my colleague, whose number you will find below. With kind regards.",
    "The printing press made books cheap enough for a merchant or a teacher to own a few. Within two generations there "
    "were presses in every large town, and rulers had begun to ask who was allowed to print what.",
    "def longest(words):\n    best = ''\n    for word in words:\n        if len(word) > len(best):\n"
    "            best = word\n    return best",
    "How do you keep tomatoes from splitting? Water them evenly, a little every day rather than a lot once a week, and "
    "pick them as soon as they are ripe. A layer of straw keeps the soil from drying out.",
    "The moon has no light of its own. We see the half of it that the sun shines on, and as the moon goes round the "
    "earth once a month, that half turns towards us and away again.",
    "He had walked for three hours when the rain began. There was a barn at the edge of the wood, its door half open, "
    "and inside, on a heap of old hay, a grey cat that did not seem surprised to see him.",
    "A contract is an agreement that the law will enforce. There must be an offer, an acceptance of that offer, and "
    "something of value that each side gives to the other; in most cases it need not be in writing.",
    "First remove the back wheel, then lift the chain off the smallest sprocket. Hold the new cable straight while you "
    "tighten the bolt, and turn the pedals by hand to see whether every gear engages.",
    "Most birds that spend the summer here leave in September. They follow coasts and rivers, rest for some days where "
    "there is food, and find their way by the sun, the stars and the shape of the land.",
)
"""Paragraphs, each measured by itself."""


def general_text_digest(paragraphs: Iterable[str] = GENERAL_TEXT) -> str:
    """`sha256:` digest of paragraphs, joined by line ends."""
    return f"sha256:{hashlib.sha256(chr(10).join(paragraphs).encode()).hexdigest()}"
