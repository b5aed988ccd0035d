"""What `adapterhub serve` can be told. Imports no torch."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from adapterhub.config import Config


class ServeConfig(Config):
    """The settings of one server."""

    base: str
    """The base model: a Hub id (`org/name[@revision]`), a local folder, or a built-in name."""
    quantize: Literal["none", "int8", "nf4"] | None = None
    """How to hold the base: none, int8 or nf4. [default: int8 on a CPU, nf4 on CUDA]"""
    host: str = "127.0.0.1"
    """Where to listen."""
    port: int = Field(default=50151, ge=0, le=65535)
    """The port; 0 takes a free one."""
    adapter: tuple[str, ...] = ()
    """An adapter to load at once, [namespace/]name[:tag][@sha256:...]; may be repeated."""
    max_sequences: int = Field(default=32, ge=1, le=1024)
    """The most generations in one step; more wait."""
    kv_tokens: int | None = Field(default=None, ge=64, le=1 << 24)
    """Room for keys and values, in tokens of all generations together. [default: a share of the free memory]"""
    grace: float = Field(default=30, ge=0, le=3600)
    """Seconds that running generations have to end in when the server is told to stop."""
