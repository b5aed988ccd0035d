"""Whatever bytes a file of training data holds: records, or an error that names the file and the line."""

from __future__ import annotations

import json
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from adapterhub.data import check_data, prompt_of, read_dataset
from adapterhub.data.reading import read_all
from adapterhub.errors import DataError
from adapterhub.plugins import load_formats

KEYS = sorted({key for each in load_formats().by_name.values() for key in each.keys})
INNER = ["role", "content", "from", "value", "tool_calls", "function", "name", "arguments", "type", "text", "weight"]
WORDS = ["user", "assistant", "system", "tool", "human", "gpt", "function_call", "text", "true", "[]", "{}", "hi there"]
VALUES: st.SearchStrategy[Any] = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.sampled_from(WORDS) | st.text(max_size=4),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.sampled_from(INNER), inner, max_size=4),
    max_leaves=12,
)
TURN = st.fixed_dictionaries(
    {"role": st.sampled_from(["user", "assistant", "tool", "system"]), "content": st.just("hi") | VALUES},
    optional={"tool_calls": VALUES, "weight": VALUES, "name": VALUES},
)
OBJECTS = st.dictionaries(st.sampled_from([*KEYS, "id", "promt"]), VALUES | st.lists(TURN, max_size=4), max_size=4)
SUFFIXES = st.sampled_from([".jsonl", ".json", ".csv", ".parquet"])


def check(content: bytes, suffix: str, name: str | None = None) -> None:
    """Reading says where the first fault is, the check says all, and both agree; what was read can be used."""
    with TemporaryDirectory() as folder:
        path = Path(folder) / f"data{suffix}"
        path.write_bytes(content)
        read = read_all(path, name)
        report = check_data(path, format_name=name, max_length=64)
        json.dumps(report.as_json()).encode()
        assert report.errors == len(read.faults)
        for fault in read.faults:
            assert str(fault).startswith(f"{path}:{fault.line}: ")
            assert 1 <= fault.line <= 1 + content.count(b"\n") + content.count(b",") + content.count(b"\r")
            assert len(str(fault)) < 2000
        if read.faults:
            with pytest.raises(DataError) as caught:
                read_dataset(path, name)
            assert str(caught.value) == str(read.faults[0])
        else:
            assert read_dataset(path, name).source == str(path)
        for record in read.dataset.records:
            prompt_of(record).encode()


@settings(max_examples=80)
@given(st.lists(OBJECTS, min_size=1, max_size=4), st.sampled_from([".jsonl", ".json"]))
def test_any_objects(objects: list[dict[str, Any]], suffix: str) -> None:
    lines = [json.dumps(each) for each in objects]
    check(("\n".join(lines) if suffix == ".jsonl" else f"[{','.join(lines)}]").encode(), suffix)


@settings(max_examples=60)
@given(OBJECTS, st.sampled_from(sorted(load_formats().by_name)))
def test_any_object_in_any_format_that_was_asked_for(values: dict[str, Any], name: str) -> None:
    check(json.dumps(values).encode(), ".jsonl", name)


@settings(max_examples=50)
@given(st.binary(max_size=80), SUFFIXES)
def test_any_bytes(content: bytes, suffix: str) -> None:
    check(content, suffix)


@settings(max_examples=40)
@given(st.lists(st.lists(st.text(max_size=5), min_size=1, max_size=3), max_size=4))
def test_any_csv(rows: list[list[str]]) -> None:
    check("\n".join(["prompt,completion", *(",".join(row) for row in rows)]).encode(errors="replace"), ".csv")
