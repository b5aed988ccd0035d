"""What a batch can be told. Imports no torch."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from pydantic import Field

from adapterhub.config import Config


class BatchConfig(Config):
    """The settings of one batch."""

    input: Path
    """File of requests, one JSON object a line."""
    output: Path
    """File of results, a line for each request, in order."""
    base: str = ""
    """The base model of an own engine; by default what the first adapter's record says."""
    quantize: Literal["none", "int8", "nf4"] | None = None
    """How to hold it: none, int8 or nf4. [default: int8 on a CPU, nf4 on CUDA]"""
    max_sequences: int = Field(default=32, ge=1, le=1024)
    """The most generations in one step of the own engine."""
    skip_bad: bool = False
    """Write an error line for what cannot be asked, and do not refuse the whole file."""
    overwrite: bool = False
    """Begin anew, whatever the output holds."""
