"""What a request asks of its text."""

from __future__ import annotations

from typing import Self

from pydantic import model_validator

from adapterhub.config import Config
from adapterhub.errors import InvalidInputError

MAX_BYTES = {"json_schema": 1 << 16, "regex": 1 << 14, "choice": 1 << 16, "grammar": 1 << 16}
"""In UTF-8; of a choice, of its texts together."""
MAX_CHOICES = 1024


class Structure(Config):
    """One of four; the others are not given. Raises InvalidInputError over the limits of the service's fields."""

    json_schema: str | None = None
    """JSON of this JSON Schema, which is itself text."""
    regex: str | None = None
    """Text that this regular expression matches as a whole."""
    choice: tuple[str, ...] | None = None
    """One of these texts."""
    grammar: str | None = None
    """Text of this context-free grammar, in Lark's notation."""
    marked: bool = False
    """Whether the grammar may name special tokens, as those of calls do, whose marks have text in the answer."""

    @model_validator(mode="after")
    def _check(self) -> Self:
        given = [name for name in KINDS if getattr(self, name) is not None]
        if len(given) != 1:
            kinds = ", ".join(KINDS)
            raise InvalidInputError(
                f"structure: {' and '.join(given) or 'nothing'} given (accepted: one of {kinds})", field="structure"
            )
        if self.choice is not None and not 0 < len(self.choice) <= MAX_CHOICES:
            raise InvalidInputError(
                f"{self.field}: {len(self.choice)} texts (accepted: 1 to {MAX_CHOICES})", field=self.field
            )
        text = getattr(self, self.kind) if self.choice is None else "".join(self.choice)
        if (size := len(text.encode(errors="surrogatepass"))) > MAX_BYTES[self.kind]:
            raise InvalidInputError(
                f"{self.field}: {size} bytes in UTF-8; at most {MAX_BYTES[self.kind]}", field=self.field
            )
        return self

    @property
    def kind(self) -> str:
        """The field that is given."""
        return next(name for name in KINDS if getattr(self, name) is not None)

    @property
    def field(self) -> str:
        """Its name in a request, for errors."""
        return f"structure.{self.kind}"


KINDS = tuple(MAX_BYTES)
