"""The Hugging Face Hub: whether a login is known here. Nothing is asked over the network."""

from __future__ import annotations

import os
from collections.abc import Iterator

from adapterhub.doctor.finding import Finding


def login() -> Iterator[Finding]:
    """Whether there is a token, never the token."""
    from huggingface_hub import get_token

    known = get_token() is not None
    yield Finding("hub", "login", "yes" if known else "no; `hf auth login` for what is private or gated, and to push")
    yield Finding("hub", "endpoint", os.environ.get("HF_ENDPOINT") or "https://huggingface.co")
    if os.environ.get("HF_HUB_OFFLINE", "").upper() in ("1", "ON", "YES", "TRUE"):
        yield Finding("hub", "offline", "yes, by HF_HUB_OFFLINE")
