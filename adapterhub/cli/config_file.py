"""The config file, changed without losing its comments."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from tempfile import NamedTemporaryFile
from typing import TYPE_CHECKING, Any

from adapterhub.errors import ConfigError, did_you_mean

if TYPE_CHECKING:
    from tomlkit import TOMLDocument
    from tomlkit.items import Item, Table


class ConfigFile:
    """One TOML file in memory, with comments and order."""

    def __init__(self, path: Path, document: TOMLDocument) -> None:
        self.path = path
        self._document = document

    @classmethod
    def open(cls, path: Path) -> ConfigFile:
        """The file as it is, or an empty one. Raises ConfigError when it is not TOML."""
        from tomlkit import document, parse
        from tomlkit.exceptions import ParseError

        try:
            return cls(path, parse(path.read_text(encoding="utf-8")) if path.exists() else document())
        except (ParseError, UnicodeDecodeError) as error:
            raise ConfigError(f"{path}: not TOML: {error}") from None

    def values(self) -> dict[str, Any]:
        """Its values as plain ones."""
        return self._document.unwrap()

    def set(self, name: str, value: str) -> None:
        """Set `name`, dots between tables, to a value spelled in TOML, or else to text. Raises ConfigError."""
        from tomlkit import table

        *tables, last = _parts(name)
        place: Any = self._document
        for part in tables:
            if part not in place:
                place[part] = table()
            place = place[part]
            if not isinstance(place, dict):
                raise ConfigError(f"{self.path}: {part} is a value, not a table", field=name)
        if isinstance(place.get(last), dict):
            raise ConfigError(f"{self.path}: {name} is a table; set one of its keys, or unset it first", field=name)
        place[last] = _toml(value)

    def unset(self, name: str) -> None:
        """Remove `name`, and a table that it leaves empty. Raises ConfigError when it is not there."""
        *tables, last = _parts(name)
        places: list[TOMLDocument | Table | Any] = [self._document]
        for part in tables:
            places.append(places[-1].get(part) if isinstance(places[-1], dict) else None)
        if not isinstance(places[-1], dict) or last not in places[-1]:
            raise ConfigError(f"{self.path}: {name} is not set{did_you_mean(name, _keys(self.values()))}", field=name)
        del places[-1][last]
        for part, inner, outer in zip(reversed(tables), reversed(places), reversed(places[:-1]), strict=False):
            if not inner:
                del outer[part]

    def save(self, check: Callable[[], None] = lambda: None) -> None:
        """Write it in one step, once `check` let it pass. A link keeps pointing where it points."""
        check()
        target = self.path.resolve()
        target.parent.mkdir(parents=True, exist_ok=True)
        with NamedTemporaryFile("w", dir=target.parent, prefix=".tmp-", delete=False, encoding="utf-8") as file:
            try:
                file.write(self._document.as_string())
                file.flush()
                os.fsync(file.fileno())
                if target.exists():
                    Path(file.name).chmod(target.stat().st_mode & 0o777)
                Path(file.name).replace(target)
            except BaseException:
                Path(file.name).unlink(missing_ok=True)
                raise


def _parts(name: str) -> list[str]:
    parts = name.split(".")
    if not all(parts):
        raise ConfigError(f"{name!r} is no key; accepted: a setting such as store, or verb.option", field=name)
    return parts


def _toml(text: str) -> Item | str:
    from tomlkit import value
    from tomlkit.exceptions import TOMLKitError

    try:
        return value(text)
    except (TOMLKitError, ValueError):
        return text


def _keys(values: dict[str, Any], before: str = "") -> list[str]:
    found = []
    for name, value in values.items():
        found += _keys(value, f"{before}{name}.") if isinstance(value, dict) else [f"{before}{name}"]
    return found
