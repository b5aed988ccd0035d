"""What an import takes at most."""

from __future__ import annotations

from pydantic import ByteSize

from adapterhub.config import Config, Size


class Limits(Config):
    """What whoever imports may raise; what else is limited stands in docs/import.md."""

    max_bytes: Size = ByteSize(4 << 30)
    """Bytes of tensors in one adapter."""
