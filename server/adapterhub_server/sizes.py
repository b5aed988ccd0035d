"""How long texts of a request may be."""

from __future__ import annotations

from adapterhub.errors import InvalidInputError

MAX_TEXT_BYTES = 1 << 20
MAX_SYSTEM_PROMPT_BYTES = 1 << 16


def check_size(field: str, text: str, limit: int) -> None:
    """Raises InvalidInputError naming the field of a text that is longer."""
    if (size := len(text.encode())) > limit:
        raise InvalidInputError(f"{field}: {size} bytes in UTF-8; at most {limit}", field=field)
