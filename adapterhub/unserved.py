"""A kind of adapter that is known and not served."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Unserved:
    """Registered by a plugin, so that such an adapter is refused with the reason."""

    peft_type: str
    """`peft_type` in `adapter_config.json`."""
    reason: str
    """Why it could not be served exactly, beside others in one batch."""

    @property
    def name(self) -> str:
        """What a user may call it."""
        return self.peft_type.lower()
