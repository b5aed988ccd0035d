"""Flags out of a config's fields: names, defaults, help and what is accepted."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, get_args, get_origin

import click
from click.shell_completion import CompletionItem
from pydantic import TypeAdapter, ValidationError
from pydantic.fields import FieldInfo

from adapterhub.config import Config

Command = Callable[..., None]

FLAGS = {"quantization": "--quantize"}
"""Fields whose flag is not their name."""
PAIRS = {
    "options": (("-o", "--option"), "An option of the method."),
    "objective_options": (("-O", "--objective-option"), "An option of the objective."),
}
"""Fields of options by name, given one by one; `parse_options` reads them."""
SPELLED = {flag.lstrip("-"): field for field, flag in FLAGS.items()}
"""The fields of such flags, for files of settings."""
METAVARS = {"base": "BASE", "method": "METHOD", "adapter": "REF", "init_from": "REF"}
"""Fields whose values the shell can complete; of the others, the type decides."""


class FieldValue(click.ParamType[Any]):
    """A value that a field of a config accepts; it is handed on as it was given."""

    def __init__(self, field: FieldInfo) -> None:
        self.name = "value"
        self._choices = [str(each) for part in _parts(field.annotation) for each in get_args(part) if _is_choice(part)]
        self._field = field
        self.is_path = Path in _parts(field.annotation)

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        try:
            accepted: Any = Annotated[self._field.annotation, self._field]
            TypeAdapter(accepted).validate_python(value)
        except ValidationError as error:
            reason = error.errors()[0]["msg"].removeprefix("Value error, ")
            self.fail(f"{reason} (given: {value!r})", param, ctx)
        return value

    def metavar(self) -> str:
        return "|".join(self._choices) or ("PATH" if self.is_path else "VALUE")

    def shell_complete(self, ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:
        if self.is_path:
            return [CompletionItem(incomplete, type="file")]
        return [CompletionItem(choice) for choice in self._choices if choice.startswith(incomplete)]


def config_flags(config: type[Config], *, required: bool = True) -> Callable[[Command], Command]:
    """Adds a flag for every field of `config`; a tuple's may be repeated, and options are `-o KEY=VALUE`.

    Without `required`, what the config needs may come from elsewhere, and the verb tells what is missing.
    """

    def add(command: Command) -> Command:
        for name, field in reversed(config.model_fields.items()):
            command = (_repeated_pairs(name) if name in PAIRS else _flag(name, field, required=required))(command)
        return command

    return add


def given(values: Mapping[str, Any]) -> dict[str, Any]:
    """What the flags say, for a config to check."""
    return {name: value for name, value in values.items() if value is not None}


def _flag(name: str, field: FieldInfo, *, required: bool) -> Callable[[Command], Command]:
    flag = FLAGS.get(name, f"--{name.replace('_', '-')}")
    if field.annotation is bool:
        return click.option(flag, name, is_flag=True, default=field.default, help=field.description)
    repeated = get_origin(field.annotation) is tuple
    value = FieldValue(field)
    unset = repeated or field.is_required() or field.default is None
    default: Any = {} if unset else {"default": str(field.default), "show_default": True}
    return click.option(
        flag,
        name,
        type=click.STRING if name in METAVARS else value,
        required=required and field.is_required(),
        multiple=repeated,
        metavar=METAVARS.get(name) or value.metavar(),
        help=field.description,
        **default,
    )


def _repeated_pairs(name: str) -> Callable[[Command], Command]:
    flags, text = PAIRS[name]
    return click.option(*flags, name, multiple=True, metavar="KEY=VALUE", help=text)


def _parts(annotation: Any) -> tuple[Any, ...]:
    """The types of a union, or the type itself."""
    return (annotation,) if _is_choice(annotation) else get_args(annotation) or (annotation,)


def _is_choice(annotation: Any) -> bool:
    return get_origin(annotation) is Literal
