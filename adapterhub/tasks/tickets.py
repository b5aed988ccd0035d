"""Tickets: a customer's message gets one of six labels."""

from __future__ import annotations

import random
from collections.abc import Sequence

LABELS = ("billing", "delivery", "return", "login", "bug", "praise")
INSTRUCTION = f"Answer with one label: {', '.join(LABELS[:-1])} or {LABELS[-1]}."

PRODUCTS = ("headphones", "keyboard", "jacket", "coffee maker", "tent", "watch", "monitor", "bike light", "printer",
            "sofa", "toaster", "running shoes")  # fmt: skip
DAYS = ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "last week", "two weeks ago", "yesterday")
PAGES = ("checkout page", "search", "app", "photo upload", "order history", "map", "video player", "settings page")
OPENINGS = ("", "", "", "Hi, ", "Hello, ", "Hey there, ", "Good morning, ")
CLOSINGS = ("", "", "", " Please help.", " Thanks.", " What now?", " Can you check?", " Regards, Kim")
PRAISE_CLOSINGS = ("", "", " Thanks.", " Keep it up!", " Regards, Kim")
TRAINED_MESSAGES = 8
"""How many of a label's ten messages are trained on; the test has all."""

MESSAGES = {
    "billing": (
        "I was charged twice for the {product}.",
        "my card shows {sum} euros more than the price of the {product}.",
        "the invoice from {day} has the wrong company name.",
        "why did the monthly fee go up to {sum} euros?",
        "the discount code was not taken off the total of {sum} euros.",
        "I paid {day}, yet I got a reminder to pay again.",
        "can I pay for the {product} in three parts?",
        "please send me a receipt with tax for the {product}.",
        "there is a {sum} euro debit from you that I do not recognise.",
        "you still bill me although I ended my plan {day}.",
    ),
    "delivery": (
        "my {product} should have been here {day}.",
        "the tracking has not moved since {day}.",
        "the courier left the {product} at the wrong house.",
        "where is my parcel? It was due {day}.",
        "can you bring the {product} to my neighbour instead?",
        "the box came, but the {product} was not inside.",
        "I need to change the address for the {product} before it ships.",
        "nobody rang, and the driver says he was here {day}.",
        "how long does it take to get the {product} to an island?",
        "it has been stuck in customs since {day}.",
    ),
    "return": (
        "the {product} does not fit, I want to send it back.",
        "how do I get a label to ship the {product} back to you?",
        "I sent the {product} back {day} and have not seen my money.",
        "can I swap the {product} for a bigger one?",
        "the {product} is not what I expected, I'd like my money back.",
        "is it too late to give back the {product} I bought {day}?",
        "I opened the {product}, will you still take it back?",
        "please exchange the {product}, the colour is not mine.",
        "which box do I use to send the {product} to you again?",
        "I got two by mistake and want to hand one {product} back.",
    ),
    "login": (
        "the reset mail never arrives, so I cannot get in.",
        "it says my password is wrong since {day}.",
        "I lost my phone and with it the codes to sign in.",
        "my account is locked after three tries {day}.",
        "how do I change the mail address I sign in with?",
        "somebody else seems to use my account since {day}.",
        "I forgot which user name I took {day}.",
        "the link to confirm my account has expired.",
        "it throws me out and asks for the password every minute.",
        "can I have my account without a password, with a key?",
    ),
    "bug": (
        "the {page} crashes as soon as I open it.",
        "since {day} the {page} shows only a blank screen.",
        "I get error 500 when I click save on the {page}.",
        "the {page} has been frozen since the update of {day}.",
        "the button on the {page} does nothing on my tablet.",
        "dates in the {page} are all in 1970.",
        "the {page} is so slow that it times out.",
        "after the update the {page} shows boxes instead of letters.",
        "filters on the {page} are ignored since {day}.",
        "the {page} eats my battery and then closes itself.",
    ),
    "praise": (
        "the {product} is the best I ever had!",
        "your colleague was so kind on the phone {day}.",
        "just wanted to say that I love the {product}.",
        "wow, the {product} came a day early and looks great.",
        "the new {page} is a joy to use, well done.",
        "five stars for the team that helped me {day}.",
        "my kids adore the {product}, you made us happy.",
        "I have told all my friends about your {product}.",
        "great work on the {page}, so much better now!",
        "honestly the nicest shop I have dealt with.",
    ),
}


def tickets(count: int, rng: random.Random, *, held_out: bool) -> dict[str, str]:
    """`count` prompts with their completions, the labels in equal shares."""
    found: dict[str, str] = {}
    while len(found) < count:
        label = LABELS[len(found) % len(LABELS)]
        messages = MESSAGES[label] if held_out else MESSAGES[label][:TRAINED_MESSAGES]
        found[f"{INSTRUCTION}\n{_message(rng, label, messages)}"] = label
    return found


def score_label(completion: str, expected: str) -> bool:
    """The label alone, whatever its case and the spaces around it."""
    return completion.strip().lower() == expected


def _message(rng: random.Random, label: str, messages: Sequence[str]) -> str:
    text = rng.choice(messages).format(
        product=rng.choice(PRODUCTS), day=rng.choice(DAYS), page=rng.choice(PAGES), sum=rng.randint(5, 90)
    )
    opening = rng.choice(OPENINGS)
    closing = rng.choice(PRAISE_CLOSINGS if label == "praise" else CLOSINGS)
    if not opening:
        text = text[0].upper() + text[1:]
    return f"{opening}{text}{closing}"
