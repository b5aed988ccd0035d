"""From objects to records: by the format of the first one, or the one that was asked for."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from difflib import get_close_matches
from pathlib import Path
from typing import Any, NamedTuple

from adapterhub.data.dataset import Dataset
from adapterhub.data.row import Row
from adapterhub.data.source import Source, open_source
from adapterhub.data_format import DataFormat
from adapterhub.errors import DataError, PluginError
from adapterhub.plugins import Registry, load_formats
from adapterhub.records import KINDS, Record

NEAR = 0.85
"""How alike an unknown key and a missing one are, by difflib, for the one to be meant as the other."""
SHOWN = 10
"""Most keys of an object that a message names."""


class Reading(NamedTuple):
    """What could be read of a data set, and what could not."""

    dataset: Dataset
    faults: tuple[DataError, ...]
    """In the order of the file."""


def read_dataset(data: Path | str, format_name: str | None = None) -> Dataset:
    """The records of a file, or of a split on the Hub, which are all of one registered format.

    Raises DataError naming the file, the line or row and what is wrong there, ConfigError for an unknown format, and
    as `open_source`.
    """
    read = read_all(data, format_name)
    if read.faults:
        raise read.faults[0]
    return read.dataset


def read_all(data: Path | str, format_name: str | None = None) -> Reading:
    """The same with every fault, and the records beside them. Raises as `open_source`."""
    formats = load_formats()
    source = open_source(data)
    read = _Records(source, formats, formats.get(format_name) if format_name else None)
    records: list[Record] = []
    faults: list[DataError] = []
    for found in read:
        faults.append(found) if isinstance(found, DataError) else records.append(found)
    if not records and not faults:
        faults.append(DataError(source.name, 1, "no examples in the file"))
    name = read.format.name if read.format else ""
    dataset = Dataset(source.name, source.sha256, name, tuple(records), source.hub, tuple(read.unused))
    return Reading(dataset, tuple(faults))


class _Records:
    """The records of a source one after another, or what is wrong in their places."""

    def __init__(self, source: Source, formats: Registry[DataFormat], chosen: DataFormat | None) -> None:
        self.format = chosen
        self.unused: dict[str, None] = {}
        """Columns that the format does not read, in the order they were met in."""
        self._source = source
        self._formats = formats
        self._given = chosen is not None

    def __iter__(self) -> Iterator[Record | DataError]:
        for found in self._source.rows():
            yield found if isinstance(found, DataError) else self._record(found)

    def _record(self, row: Row) -> Record | DataError:
        try:
            if self.format is None:
                self.format = _recognize(row.values, self._formats)
            return self._read(row, self.format)
        except ValueError as error:
            return DataError(self._source.name, row.line, str(error))

    def _read(self, row: Row, chosen: DataFormat) -> Record:
        values = row.values
        strange = [key for key in values if key not in chosen.keys]
        for key in strange:
            missing = [known for known in chosen.keys if known not in values]
            if near := nearest(key, missing):
                accepted = ", ".join(sorted(chosen.keys))
                raise ValueError(f"unknown key {_shown(key)}; did you mean {near!r}? (accepted: {accepted})")
        try:
            record = chosen.read(values, row.line)
        except ValueError as error:
            raise ValueError(f"{error}{self._other_shape(values, chosen)}") from None
        except Exception as error:
            where = f"format {chosen.name!r}: {self._source.name}:{row.line}"
            raise PluginError(f"{where}: {type(error).__name__}: {error}") from error
        if not isinstance(record, tuple(KINDS)):
            raise PluginError(f"format {chosen.name!r}: read gives {type(record).__name__}, which is no record")
        self.unused.update(dict.fromkeys(strange))
        return record

    def _other_shape(self, values: Mapping[str, Any], chosen: DataFormat) -> str:
        """What to add where an object looks like another format than the file's."""
        other = best(values, self._formats)
        if other is None or other is chosen or recognizes(chosen, values):
            return ""
        by = "as it was asked for" if self._given else "by its first record"
        return f"; the file is of format {chosen.name!r} {by}, this looks like {other.name!r}"


def best(values: Mapping[str, Any], formats: Registry[DataFormat]) -> DataFormat | None:
    """Of the formats that recognize an object the one that reads most of its keys, else the first; None of none."""
    able = [each for each in formats.by_name.values() if recognizes(each, values)]
    return max(able, key=lambda each: sum(key in values for key in each.keys), default=None)


def recognizes(one: DataFormat, values: Mapping[str, Any]) -> bool:
    """Raises PluginError naming a format that raises."""
    try:
        return bool(one.recognizes(values))
    except Exception as error:
        raise PluginError(f"format {one.name!r}: {type(error).__name__}: {error}") from error


def nearest(key: str, known: Collection[str]) -> str:
    """The one that `key` was meant to be; empty when it is like none."""
    close = get_close_matches(key.strip().lower(), known, n=1, cutoff=NEAR)
    return close[0] if close else ""


def _recognize(values: Mapping[str, Any], formats: Registry[DataFormat]) -> DataFormat:
    """Raises ValueError listing the shapes there are."""
    if (found := best(values, formats)) is not None:
        return found
    known = {key for each in formats.by_name.values() for key in each.keys}
    meant = [(key, near) for key in values if (near := nearest(key, known))]
    hint = f"; is {_shown(meant[0][0])} meant as {meant[0][1]!r}?" if meant else ""
    keys = ", ".join(map(_shown, list(values)[:SHOWN])) + (", ..." if len(values) > SHOWN else "")
    shapes = "; ".join(each.shape for each in formats.by_name.values()) or "none"
    has = f"with the keys {keys}" if values else "without keys"
    raise ValueError(f"unknown shape, {has}{hint} (accepted: {shapes})")


def _shown(key: str) -> str:
    return repr(key if len(key) <= 40 else f"{key[:40]}...")
