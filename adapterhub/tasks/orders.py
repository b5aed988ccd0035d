"""Orders: a short message to a shop becomes one line of JSON with item, qty and city."""

from __future__ import annotations

import json
import random
from collections.abc import Sequence
from typing import NamedTuple

INSTRUCTION = "Give item, qty and city of the order as JSON."

ITEMS = (
    ("lamp", "lamps"), ("mug", "mugs"), ("chair", "chairs"), ("blanket", "blankets"), ("kettle", "kettles"),
    ("mirror", "mirrors"), ("notebook", "notebooks"), ("pillow", "pillows"), ("clock", "clocks"), ("vase", "vases"),
    ("towel", "towels"), ("basket", "baskets"), ("candle", "candles"), ("teapot", "teapots"), ("rug", "rugs"),
    ("desk", "desks"), ("stool", "stools"), ("backpack", "backpacks"), ("umbrella", "umbrellas"), ("poster", "posters"),
    ("bowl", "bowls"), ("shelf", "shelves"), ("knife", "knives"), ("brush", "brushes"), ("tray", "trays"),
)  # fmt: skip
CITIES = (
    "Oslo", "Lisbon", "Dublin", "Vienna", "Prague", "Boston", "Denver", "Chicago", "Seattle", "Toronto", "Madrid",
    "Rome", "Milan", "Berlin", "Hamburg", "Zurich", "Athens", "Cairo", "Lima", "Kyoto", "Osaka", "Seoul", "Sydney",
    "Perth", "Austin", "Paris", "Lyon", "Leeds", "Geneva", "Porto",
)  # fmt: skip
TRAINED_ITEMS, TRAINED_CITIES = 20, 24
"""How many of each are trained on; the test has all."""
WORDS = {2: "two", 3: "three", 4: "four", 5: "five", 6: "six", 7: "seven", 8: "eight", 9: "nine", 10: "ten"}
COLORS = ("red", "blue", "green", "white", "black", "gray", "wooden", "small", "large")

TEMPLATES = (
    "Hi, could you send {n} {color} {items} to my place in {city}?",
    "Please ship {n} {items} to {city}.",
    "I'd like to order {n} {items}. Deliver to {city}, thanks!",
    "{N} {color} {items} for our office in {city}, please.",
    "We need {n} more {items} at the {city} store.",
    "My sister in {city} wants {n} of your {color} {items}.",
    "Can I get {n} {items} delivered to {city} by Friday?",
    "Put me down for {n} {items}, going to {city}.",
    "Hello from {city}! Do you still have {items}? I'll take {n}.",
    "I live in {city} now. Same {color} {items} as always, {n} of them.",
    "Last time I bought {m} {items}, this time make it {n}. Address: {city}.",
    "Not {m} but {n} {items} please, to {city}.",
    "I was in {other} before, but send the {n} {items} to {city}.",
    "For the cafe in {city}: {n} {color} {items}.",
    "The {city} branch has run out of {items}; {n} would do.",
    "Add {n} {items} to the parcel for {city}.",
)
SINGLE = (
    "Just one {color} {item} to {city}, please.",
    "I need a {color} {item} sent to {city}.",
    "A single {item} for my flat in {city} is enough.",
    "Do you ship to {city}? I want one {item}.",
)
DOZEN = (
    "A dozen {items} to {city}, please.",
    "Could you send a dozen {color} {items} to {city}?",
    "We'd take a dozen of the {items}, in {city}.",
)
PAIR = (
    "A pair of {color} {items} for {city}.",
    "I'd like a pair of {items} shipped to {city}.",
)
FORMS = (*((template, None) for template in TEMPLATES), *((t, 1) for t in SINGLE), *((t, 12) for t in DOZEN),
         *((t, 2) for t in PAIR))  # fmt: skip


class Order(NamedTuple):
    """What one message asks for."""

    item: str
    qty: int
    city: str


def orders(count: int, rng: random.Random, *, held_out: bool) -> dict[str, str]:
    """`count` prompts with their completions."""
    items = ITEMS if held_out else ITEMS[:TRAINED_ITEMS]
    cities = CITIES if held_out else CITIES[:TRAINED_CITIES]
    found: dict[str, str] = {}
    while len(found) < count:
        text, order = _message(rng, items, cities)
        found[f"{INSTRUCTION}\n{text}"] = json.dumps(order._asdict(), separators=(",", ":"))
    return found


def score_order(completion: str, expected: str) -> bool:
    """Equal as JSON: spaces and the order of keys do not matter."""
    try:
        return bool(json.loads(completion) == json.loads(expected))
    except ValueError:
        return False


def _message(rng: random.Random, known_items: Sequence[tuple[str, str]], cities: Sequence[str]) -> tuple[str, Order]:
    template, fixed = rng.choice(FORMS)
    item, items = rng.choice(known_items)
    city, other = rng.sample(cities, 2)
    qty = fixed or rng.randint(2, 40)
    before = rng.choice([n for n in range(2, 20) if n != qty])
    spelled = WORDS.get(qty, str(qty)) if rng.random() < 0.5 else str(qty)
    color = rng.choice(COLORS)
    text = template.format(
        n=spelled, N=spelled.capitalize(), m=before, item=item, items=items, city=city, other=other, color=color
    )
    return text, Order(item, qty, city)
