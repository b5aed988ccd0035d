"""The settings of one training run in a TOML file: `adapterhub train --config run.toml`."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Any

from adapterhub.cli.config_flags import FLAGS
from adapterhub.errors import ConfigError, InvalidInputError, did_you_mean
from adapterhub.train.config import TrainConfig

NAME = "name"
"""The one key that is no setting of the run: what to publish as."""


def read_run_file(path: Path) -> dict[str, Any]:
    """Its values, by the names of the settings. Relative paths in it are relative to its folder.

    A key may be spelled as the flag is. Raises ConfigError for an unknown key, naming it and the file.
    """
    try:
        written = tomllib.loads(path.read_text(encoding="utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path}: not TOML: {error}", field="config") from None
    except FileNotFoundError:
        raise InvalidInputError(f"{path}: no such file", field="config") from None
    except OSError as error:
        raise InvalidInputError(f"{path}: cannot be read: {error.strerror}", field="config") from None
    fields = {flag.lstrip("-"): field for field, flag in FLAGS.items()}
    values: dict[str, Any] = {}
    for key, value in written.items():
        plain = key.replace("-", "_")
        name = fields.get(plain, plain)
        if name != NAME and name not in TrainConfig.model_fields:
            known = sorted([*TrainConfig.model_fields, NAME])
            raise ConfigError(f"{path}: unknown key {key!r}{did_you_mean(plain, known)} (known: {', '.join(known)})")
        values[name] = _placed(name, value, path.parent)
    return values


def _placed(name: str, value: Any, folder: Path) -> Any:
    """A path where it is from here; a base is one when it begins with a dot."""
    field = TrainConfig.model_fields.get(name)
    is_path = field is not None and "Path" in str(field.annotation)
    if isinstance(value, str) and (is_path or (name == "base" and value.startswith("."))):
        return str(folder / Path(value).expanduser())
    return value
