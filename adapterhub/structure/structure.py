"""What a request asks of its text."""

from __future__ import annotations

from typing import Annotated, Self

from pydantic import AfterValidator, Field, model_validator

from adapterhub.config import Config

MAX_SCHEMA_BYTES = 1 << 16
MAX_REGEX_BYTES = 1 << 14
MAX_CHOICES = 1024
MAX_CHOICE_BYTES = 1 << 16
MAX_GRAMMAR_BYTES = 1 << 16


def _at_most(limit: int) -> AfterValidator:
    def check(value: str | tuple[str, ...] | None) -> str | tuple[str, ...] | None:
        text = value if isinstance(value, str) else "".join(value or ())
        if (size := len(text.encode(errors="surrogatepass"))) > limit:
            raise ValueError(f"{size} bytes in UTF-8; at most {limit}")
        return value

    return AfterValidator(check)


class Structure(Config):
    """One of four: the others are not given. The limits are those of the service's fields."""

    json_schema: Annotated[str | None, _at_most(MAX_SCHEMA_BYTES)] = None
    """JSON of this JSON Schema, which is itself text."""
    regex: Annotated[str | None, _at_most(MAX_REGEX_BYTES)] = None
    """Text that this regular expression matches as a whole."""
    choice: Annotated[
        tuple[str, ...] | None, Field(min_length=1, max_length=MAX_CHOICES), _at_most(MAX_CHOICE_BYTES)
    ] = None
    """One of these texts."""
    grammar: Annotated[str | None, _at_most(MAX_GRAMMAR_BYTES)] = None
    """Text of this context-free grammar, in Lark's notation."""

    @model_validator(mode="after")
    def _is_one(self) -> Self:
        given = [name for name in type(self).model_fields if getattr(self, name) is not None]
        if len(given) != 1:
            raise ValueError(f"{' and '.join(given) or 'nothing'} given (accepted: one of {', '.join(KINDS)})")
        return self

    @property
    def kind(self) -> str:
        """The field that is given."""
        return next(name for name in KINDS if getattr(self, name) is not None)

    @property
    def field(self) -> str:
        """Its name in a request, for errors."""
        return f"structure.{self.kind}"


KINDS = tuple(Structure.model_fields)
