"""Frozen settings: one base class, one way to load, one way to complain.

A config is composed, never inherited from another config, and never written after load. Unknown
keys are errors. The docstring under each field is its help text.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Self

from pydantic import BaseModel, ByteSize, ConfigDict, ValidationError, ValidatorFunctionWrapHandler, WrapValidator

from adapterhub.errors import ConfigError, did_you_mean


def _size(value: object, parse: ValidatorFunctionWrapHandler) -> ByteSize:
    try:
        size: ByteSize = parse(value)
    except ValidationError:
        size = ByteSize(0)
    if size < 1:
        raise ValueError("not a size (accepted: such as 512MB, 2GiB, or a number of bytes)")
    return size


Size = Annotated[ByteSize, WrapValidator(_size)]
"""Bytes, at least 1; as text with a unit: kB, MB, GB are powers of 1000, KiB, MiB, GiB of 1024."""


class Config(BaseModel):
    """Base of every config: frozen, strict about unknown keys, documented by attribute docstrings."""

    model_config = ConfigDict(
        frozen=True, extra="forbid", allow_inf_nan=False, use_attribute_docstrings=True, validate_default=True
    )

    @classmethod
    def load(cls, values: Mapping[str, Any], *, where: str) -> Self:
        """Build from untrusted `values`; `where` names their origin in the error.

        Raises ConfigError naming the first wrong key and what would be accepted.
        """
        try:
            return cls.model_validate(dict(values))
        except ValidationError as error:
            raise _config_error(cls, error, where) from None


def _config_error(cls: type[Config], error: ValidationError, where: str) -> ConfigError:
    errors = error.errors()
    first = errors[0]
    of_field = [each for each in errors if each["loc"][:1] == first["loc"][:1]]
    if any(_is_choice(part) for each in of_field for part in each["loc"][1:]):  # none of several types fits
        key = str(first["loc"][0])
        reason = "; or ".join(dict.fromkeys(each["msg"].removeprefix("Value error, ") for each in of_field))
        return ConfigError(f"{where}: {key}: {reason} (given: {first['input']!r})", field=key)
    key = ".".join(str(part) for part in first["loc"]) or "value"
    if first["type"] == "extra_forbidden":
        known = sorted(cls.model_fields)
        return ConfigError(
            f"{where}: unknown option {key!r}{did_you_mean(key, known)} (known: {', '.join(known)})", field=key
        )
    reason = first["msg"].removeprefix("Value error, ")
    given = "" if first["type"] == "missing" else f" (given: {first['input']!r})"
    return ConfigError(f"{where}: {key}: {reason}{given}", field=key)


def _is_choice(part: str | int) -> bool:
    """Whether a part of pydantic's path is one of a union's types, such as `tuple[str, ...]`, and no name."""
    return isinstance(part, str) and not part.isidentifier()
