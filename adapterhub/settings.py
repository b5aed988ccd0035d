"""The user's settings that are no verb's, from a file and from the environment.

    store = "/big/disk/adapters"        at the top of config.toml, or ADAPTERHUB_STORE
    plugins = ["lora", "serve"]         or ADAPTERHUB_PLUGINS=lora,serve

    [serve]                             options of a verb, which the command line reads
    port = 50200

A variable wins over the file; an empty one is not set, but for ADAPTERHUB_PLUGINS, where it means none.
Programs that use adapterhub as a library have the same settings. No token or password is one of them.
"""

from __future__ import annotations

import os
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, NamedTuple

import platformdirs
from pydantic import BeforeValidator, Field

from adapterhub.config import Config
from adapterhub.errors import ConfigError

CONFIG_VARIABLE = "ADAPTERHUB_CONFIG"
"""Names a config file instead of the user's own."""
PREFIX = "ADAPTERHUB_"
DEFAULT_ADDRESS = "127.0.0.1:50151"


def _names(value: object) -> object:
    """Names with commas between, as a variable has them, or a list."""
    return [name.strip() for name in value.split(",") if name.strip()] if isinstance(value, str) else value


def _folder(value: object) -> object:
    if not isinstance(value, str | Path):
        raise ValueError("a folder's path is accepted")
    return Path(value).expanduser()


Folder = Annotated[Path, BeforeValidator(_folder)]


class Settings(Config):
    """What is set once for all verbs."""

    store: Folder = Field(default_factory=lambda: platformdirs.user_data_path("adapterhub") / "store")
    """The folder of the store. [default: `store` in the user's data folder]"""
    cache: Folder = Field(default_factory=lambda: platformdirs.user_cache_path("adapterhub"))
    """The folder for what can be made again. [default: the user's cache folder]"""
    runs: Folder = Field(default_factory=lambda: platformdirs.user_data_path("adapterhub") / "runs")
    """The folder for what training runs leave: checkpoints and logs. [default: `runs` in the user's data folder]"""
    plugins: Annotated[tuple[str, ...], BeforeValidator(_names)] | None = None
    """The only plugins to use. [default: all that are installed]"""
    kernels: Literal["native", "torch"] = "native"
    """What computes beside torch: kernels that are compiled once, where that can be done, or nothing."""
    address: str = DEFAULT_ADDRESS
    """The server that generate, ps, load and unload ask, HOST:PORT."""


class Effective(NamedTuple):
    """The settings, and where those that are set come from."""

    settings: Settings
    origins: Mapping[str, str]
    """Setting -> a variable's name, or `<file>: <key>`; none for a default."""


def config_path() -> Path:
    """The config file, which need not exist."""
    named = os.environ.get(CONFIG_VARIABLE)
    return Path(named) if named else platformdirs.user_config_path("adapterhub") / "config.toml"


def read_config(path: Path) -> dict[str, Any]:
    """The file's values, nothing of them checked; none when there is no file.

    Raises ConfigError when it is not TOML, or not there though ADAPTERHUB_CONFIG names it.
    """
    try:
        with path.open("rb") as file:
            return tomllib.load(file)
    except FileNotFoundError:
        if os.environ.get(CONFIG_VARIABLE):
            raise ConfigError(
                f"{path}: no such file, though {CONFIG_VARIABLE} names it", field=CONFIG_VARIABLE
            ) from None
        return {}
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path}: not TOML: {error}", field=CONFIG_VARIABLE) from None
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read: {error.strerror}", field=CONFIG_VARIABLE) from None


def top_level(values: Mapping[str, Any]) -> dict[str, Any]:
    """The file's values that are no verb's."""
    return {key: value for key, value in values.items() if not isinstance(value, dict)}


def effective() -> Effective:
    """The settings as they are now.

    Raises ConfigError naming the file or the variable, the setting and what is accepted.
    """
    path = config_path()
    written = top_level(read_config(path))
    Settings.load(written, where=str(path))
    given = {name: value for name in Settings.model_fields if (value := _variable(name)) is not None}
    origins = {name: f"{path}: {name}" for name in written} | {name: variable(name) for name in given}
    return Effective(Settings.load(written | given, where="environment"), origins)


def variable(name: str) -> str:
    """The environment variable of a setting."""
    return f"{PREFIX}{name.upper()}"


def _variable(name: str) -> str | None:
    value = os.environ.get(variable(name))
    return None if value == "" and name != "plugins" else value
