"""Formats that others write: the documented one as it is, and what a broken one does to those who read data."""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from test_cli import run

from adapterhub.data import read_dataset
from adapterhub.errors import DataError, PluginError
from adapterhub.plugins import FORMATS_GROUP, PluginStatus, load_formats
from adapterhub.records import Pair

PAGE = Path(__file__).parent.parent / "docs" / "data.md"
Install = Callable[[str], None]


def documented() -> str:
    (example,) = re.findall(r"^```python\n(.*?)^```$", PAGE.read_text(), flags=re.MULTILINE | re.DOTALL)
    return str(example)


@pytest.fixture
def install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Install]:
    """Installs a distribution with one module of the given source, which is the plugin `reading`."""
    monkeypatch.syspath_prepend(tmp_path)

    def make(source: str) -> None:
        (tmp_path / "reading.py").write_text(source)
        info = tmp_path / "reading-1.0.dist-info"
        info.mkdir()
        (info / "METADATA").write_text("Metadata-Version: 2.1\nName: reading\nVersion: 1.0\n")
        (info / "entry_points.txt").write_text(f"[{FORMATS_GROUP}]\nreading = reading\n")

    yield make
    sys.modules.pop("reading", None)


def put(folder: Path, **values: object) -> Path:
    path = folder / "data.jsonl"
    path.write_text(json.dumps(values))
    return path


def test_the_documented_format_works_as_it_is(install: Install, tmp_path: Path) -> None:
    install(documented())
    (plugin,) = (each for each in load_formats().plugins if each.name == "reading")
    assert plugin == PluginStatus("reading", "reading", "1.0", ("register_formats",), formats=("reading",))
    dataset = read_dataset(put(tmp_path, passage="Anna sings.", question="Who?", span=[0, 4]))
    assert (dataset.format, dataset.records) == ("reading", (Pair("Anna sings.\nWho?", "Anna", 1),))
    with pytest.raises(DataError, match=r"data\.jsonl:1: 'span' is not \[from, to\]$"):
        read_dataset(put(tmp_path, passage="a", question="b"))
    with pytest.raises(DataError, match="unknown key 'spans'; did you mean 'span'"):
        read_dataset(put(tmp_path, passage="a", question="b", spans=[0, 1]))


def test_a_format_that_reads_more_of_an_object_is_taken_before_the_built_in_one(
    install: Install, tmp_path: Path
) -> None:
    install(documented().replace("question", "text"))
    assert read_dataset(put(tmp_path, passage="a", text="b", span=[0, 1])).format == "reading"
    assert read_dataset(put(tmp_path, text="b")).format == "text"


@pytest.mark.parametrize(
    ("old", "new", "reason"),
    [
        ('raise ValueError("', 'raise KeyError("', "data.jsonl:1: KeyError: "),
        ("raise ValueError(\"'span' is not [from, to]\")", "return None", "read gives NoneType, which is no record"),
        ('return {"passage", "question"} <= values.keys()', "return values.no", "AttributeError: 'dict' object has no"),
    ],
)
def test_a_format_that_fails_is_named_and_nothing_is_a_traceback(
    install: Install, tmp_path: Path, old: str, new: str, reason: str
) -> None:
    assert old in documented()
    install(documented().replace(old, new))
    path = put(tmp_path, passage="a", question="b")
    with pytest.raises(PluginError, match=r"^format 'reading': ") as caught:
        read_dataset(path)
    assert reason in str(caught.value)
    ended = run("data", "check", str(path))
    assert (ended.exit_code, ended.stderr.count("\n")) == (1, 1)
