"""The settings of a training run, or of several, in a TOML file. Needs no torch."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from adapterhub.errors import ConfigError, InvalidInputError, did_you_mean
from adapterhub.train.config import TrainConfig

NAME = "name"
"""The one key that is no setting of a run: what to publish as."""


def read_settings_file(path: Path, spelled: Mapping[str, str]) -> dict[str, Any]:
    """Its values, by the names of the settings. Relative paths in it, in lists too, are relative to its folder.

    A key may be spelled as the flag is: `spelled` has the settings of those that are not called as their flags.
    Raises InvalidInputError when it cannot be read, and ConfigError for an unknown key, naming it and the file.
    """
    try:
        written = tomllib.loads(path.read_text(encoding="utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path}: not TOML: {error}", field="config") from None
    except FileNotFoundError:
        raise InvalidInputError(f"{path}: no such file", field="config") from None
    except OSError as error:
        raise InvalidInputError(f"{path}: cannot be read: {error.strerror}", field="config") from None
    values: dict[str, Any] = {}
    known = sorted([*TrainConfig.model_fields, NAME])
    for key, value in written.items():
        plain = key.replace("-", "_")
        name = spelled.get(plain, plain)
        if name not in known:
            raise ConfigError(
                f"{path}: unknown key {key!r}{did_you_mean(plain, known)} (known: {', '.join(known)})", field=key
            )
        listed = [_placed(name, each, path.parent) for each in value] if isinstance(value, list) else None
        values[name] = _placed(name, value, path.parent) if listed is None else listed
    return values


def _placed(name: str, value: Any, folder: Path) -> Any:
    """A path where it is from here; a base is one when it begins with a dot, and data that are a Hub's are none."""
    field = TrainConfig.model_fields.get(name)
    is_path = field is not None and "Path" in str(field.annotation) and not str(value).startswith("hf:")
    if isinstance(value, str) and (is_path or (name == "base" and value.startswith("."))):
        return str(folder / Path(value).expanduser())
    return value
