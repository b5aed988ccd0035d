"""Names of fields as the client knows them, for the errors of floors that know settings by other names."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

from adapterhub.engine import Sampling
from adapterhub.errors import InvalidInputError
from adapterhub.prompt_format import PromptFormat

PATHS = {name: f"sampling.{name}" for name in Sampling.model_fields} | {
    name: f"prompt_format.{name}" for name in PromptFormat.model_fields
}


@contextmanager
def wire_fields() -> Iterator[None]:
    """InvalidInputError raised inside names the field of the request."""
    try:
        yield
    except InvalidInputError as error:
        name, *rest = error.field.split(".")  # an item of a list is named `stop.2`
        error.field = ".".join((PATHS.get(name, name), *rest))
        raise


@contextmanager
def renamed(names: Mapping[str, str]) -> Iterator[None]:
    """InvalidInputError raised inside names the field as another service's requests have it."""
    try:
        yield
    except InvalidInputError as error:
        name, *rest = error.field.removeprefix("sampling.").split(".")
        error.field = ".".join((names.get(name, name), *rest))
        raise
