"""What a server knows of one adapter."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

State = Literal["queued", "downloading", "validating", "host", "resident", "failed", "disk", "unloaded"]


@dataclass(frozen=True)
class KnownAdapter:
    """One line of a listing."""

    digest: str
    """Empty while it is on its way from the Hub."""
    refs: tuple[str, ...]
    """The refs that last resolved to it, sorted."""
    method: str = ""
    nbytes: int = 0
    """What it holds when resident, else the bytes of its tensors."""
    running: int = 0
    """Requests that hold it."""
    state: State = "disk"
    reason: str = ""
    """Why the last load failed, when it did."""
    pinned: bool = False
