"""A sweep's TOML file: settings of a training run, of which a list is to be tried value by value. Needs no torch."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Any

from adapterhub.errors import ConfigError, InvalidInputError, did_you_mean
from adapterhub.train.config import TrainConfig

NAME = "name"
"""The one key that is no setting of a run: the name that all are published under, each with a tag of its own."""


def read_sweep_file(path: Path) -> dict[str, Any]:
    """Its values, by the names of the settings; relative paths are relative to its folder.

    Raises InvalidInputError when there is no such file, and ConfigError naming what is wrong in it.
    """
    try:
        written = tomllib.loads(path.read_text(encoding="utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path}: not TOML: {error}", field="sweep") from None
    except OSError as error:
        raise InvalidInputError(f"{path}: cannot be read: {error.strerror}", field="sweep") from None
    known = sorted([*TrainConfig.model_fields, NAME])
    values = {}
    for key, value in written.items():
        name = key.replace("-", "_")
        if name not in known:
            raise ConfigError(
                f"{path}: unknown key {key!r}{did_you_mean(name, known)} (known: {', '.join(known)})", field=key
            )
        several = isinstance(value, list)
        values[name] = [_placed(name, each, path) for each in value] if several else _placed(name, value, path)
    return values


def _placed(name: str, value: Any, path: Path) -> Any:
    """A path where it is from here; a base is one when it begins with a dot."""
    field = TrainConfig.model_fields.get(name)
    is_path = field is not None and "Path" in str(field.annotation)
    if isinstance(value, str) and (is_path or (name == "base" and value.startswith("."))):
        return str(path.parent / Path(value).expanduser())
    return value
