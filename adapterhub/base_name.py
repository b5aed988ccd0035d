"""What a base model is called: the built-in name, a folder's name, or its id on the Hub."""

from __future__ import annotations

import re

BUILT_IN = "smollm2-135m"
BUILT_IN_ON_HUB = "HuggingFaceTB/SmolLM2-135M-Instruct"
"""What the built-in base was made from. Its own weights went through 4 bits, so its digest is another."""

HUB_ID = r"[A-Za-z0-9_][\w.-]{0,95}/[A-Za-z0-9_][\w.-]{0,95}"


def hub_id(name: str) -> str:
    """The Hub's id of the base that is called `name`; empty when that is a folder's name, or a path."""
    if name == BUILT_IN:
        return BUILT_IN_ON_HUB
    return name if re.fullmatch(HUB_ID, name, re.ASCII) and ".." not in name else ""
