"""What the parameters of all verbs have in common: a variable and a key of the config file, and what completes them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import click

from adapterhub.cli.complete import COMPLETED
from adapterhub.errors import ConfigError, did_you_mean
from adapterhub.settings import PREFIX

SECRETS = frozenset({"api_key"})
"""Options that have a variable of their own and no place in the config file."""


def prepare(command: click.Command, name: str) -> None:
    """Give every option its variable, `ADAPTERHUB_<VERB>_<OPTION>`, and complete what is called REF, BASE or METHOD."""
    for param in command.params:
        if isinstance(param, click.Option) and param.expose_value and param.envvar is None:
            param.envvar = f"{PREFIX}{name}_{key(param)}".upper().replace("-", "_")
        if param.type is click.STRING:
            param.type = COMPLETED.get((param.metavar or param.human_readable_name).strip("[]."), click.STRING)
    if isinstance(command, click.Group):
        for other, each in command.commands.items():
            prepare(each, f"{name}_{other}")


def key(option: click.Option) -> str:
    """What an option is called in the config file: its longest flag, with underscores."""
    return max(option.opts, key=len).lstrip("-").replace("-", "_")


def configurable(command: click.Command) -> Iterator[click.Option]:
    """The options of a verb that the environment and the config file may set; no secrets, which no file may hold."""
    options = (param for param in command.params if isinstance(param, click.Option) and param.expose_value)
    return (option for option in options if option.name not in SECRETS)


def defaults(command: click.Command, table: Mapping[str, Any], path: Path, section: str) -> dict[str, Any]:
    """A table of the config file as click takes it; `section` is its name.

    Raises ConfigError naming the file, the key and what is accepted.
    """
    options = {key(option): option for option in configurable(command)}
    inner = command.commands if isinstance(command, click.Group) else {}
    found: dict[str, Any] = {}
    for written, value in table.items():
        name, where = written.replace("-", "_"), f"{path}: {section}.{written}"
        if name in options:
            found[str(options[name].name)] = _checked(options[name], value, where)
        elif written in inner:
            if not isinstance(value, dict):
                raise ConfigError(f"{where}: not a table of the options of `{written}`", field=written)
            found[written] = defaults(inner[written], value, path, f"{section}.{written}")
        else:
            known = sorted([*options, *inner])
            raise ConfigError(
                f"{where}: no option of `{section.replace('.', ' ')}`{did_you_mean(name, known)} "
                f"(known: {', '.join(known) or 'none'})",
                field=written,
            )
    return found


def _checked(option: click.Option, value: Any, where: str) -> Any:
    """The value, which is of the option's type. Raises ConfigError."""
    if isinstance(value, dict) or isinstance(value, list) is not option.multiple:
        wanted = "a list of values" if option.multiple else "one value"
        raise ConfigError(f"{where}: {wanted} is accepted (given: {value!r})", field=where)
    if option.is_flag and not isinstance(value, bool):
        raise ConfigError(f"{where}: true or false is accepted (given: {value!r})", field=where)
    try:
        option.type_cast_value(click.Context(click.Command(None)), value)
    except click.BadParameter as error:
        raise ConfigError(f"{where}: {error.message}", field=where) from None
    return value
