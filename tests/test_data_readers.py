"""Files of training data: JSON, lines of JSON, CSV and Parquet say the same, and each says where it is wrong."""

from __future__ import annotations

import codecs
import csv
import hashlib
import io
import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from pyarrow import parquet

from adapterhub.data import read_all, read_dataset
from adapterhub.errors import DataError, InvalidInputError
from adapterhub.records import Chat, Pair

ROWS = [{"prompt": "a\nb", "completion": 'ü, "q"'}, {"prompt": "c", "completion": "d"}]
GOOD = b'{"prompt": "a", "completion": "b"}'
NOT_PARQUET = "not Parquet that can be read: "


def in_csv(rows: list[dict[str, str]]) -> bytes:
    text = io.StringIO(newline="")
    writer = csv.DictWriter(text, rows[0])
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue().encode()


def in_parquet(rows: list[Any]) -> bytes:
    sink = io.BytesIO()
    parquet.write_table(pa.Table.from_pylist(rows), sink)
    return sink.getvalue()


def put(folder: Path, name: str, content: bytes) -> Path:
    path = folder / name
    path.write_bytes(content)
    return path


CONTENT = {
    "data.jsonl": "\n".join(map(json.dumps, ROWS)).encode(),
    "data.ndjson": "\r\n\r\n".join(map(json.dumps, ROWS)).encode(),
    "data.json": json.dumps(ROWS, indent=2).encode(),
    "lines.json": "\n".join(map(json.dumps, ROWS)).encode(),
    "data.csv": in_csv(ROWS),
    "DATA.CSV": codecs.BOM_UTF8 + in_csv(ROWS),
    "data.parquet": in_parquet(ROWS),
}


@pytest.mark.parametrize("name", CONTENT)
def test_every_kind_of_file_says_the_same_and_is_digested_as_it_is(tmp_path: Path, name: str) -> None:
    dataset = read_dataset(put(tmp_path, name, CONTENT[name]))
    assert [(pair.prompt, pair.completion) for pair in dataset.pairs] == [tuple(row.values()) for row in ROWS]
    assert dataset.sha256 == hashlib.sha256(CONTENT[name]).hexdigest()
    assert dataset.source == str(tmp_path / name)


@pytest.mark.parametrize(
    ("name", "content", "line", "problem"),
    [
        ("a.jsonl", GOOD + b"\n\n{", 3, "not JSON: Expecting property name enclosed in double quotes at column 2"),
        ("a.jsonl", GOOD + b'\n{"prompt": ' + b"1" * 5000 + b"}", 2,
         "not JSON: Exceeds the limit (4300 digits) for integer string conversion: value has 5000 digits"),
        ("a.jsonl", b'{"prompt": "\\ud800", "completion": "b"}', 1, "not Unicode: half of a surrogate pair"),
        ("a.jsonl", b'{"x": ' + b"[" * 200 + b"]" * 200 + b"}", 1, "not JSON: nested too deeply"),
        ("a.json", b'[\n{"prompt": x}]', 2, "not JSON: Expecting value at column 12"),
        ("a.json", b"[" + GOOD + b",\n7]", 2, "not a JSON object but int"),
        ("a.json", b"[" + GOOD + b',\n{"prompt": "a"}]', 2, "no 'completion'"),
        ("a.json", b"[\n\"\xff", 2, "not UTF-8 at byte 2"),
        ("a.json", b"[" * 100_000, 1, "not JSON: nested too deeply"),
        ("a.json", b"[]", 1, "no examples in the file"),
        ("a.csv", b"prompt,completion\n\n", 1, "no examples in the file"),
        ("a.csv", b'prompt,completion\n"a\nb",c\nd,\n', 4, "'completion' is empty"),
        ("a.csv", b"prompt,completion\na,b,c\n", 2, "3 cells, the header has 2"),
        ("a.csv", b"prompt,prompt\na,b\n", 1, "the header has 'prompt' twice"),
        ("a.csv", b'prompt,completion\n"a"x,b\n', 2, "not CSV: ',' expected after '\"'"),
        ("a.csv", b'prompt,completion\na,b\n"a', 3, "not CSV: unexpected end of data"),
        ("a.csv", b"prompt,completion\na,\xff\n", 2, "not UTF-8 at byte 3"),
        ("a.parquet", GOOD, 1, NOT_PARQUET + "Parquet magic bytes not found in footer. Either the file is corrupted or "
         "this is not a parquet file."),
        ("a.parquet", in_parquet([*ROWS, {"prompt": "a", "completion": None}]), 3,
         "'completion' is not text but NoneType"),
        ("a.parquet", in_parquet([{"prompt": b"a", "completion": "b"}]), 1, "'prompt' is not text but bytes"),
    ],
)  # fmt: skip
def test_a_fault_is_told_with_file_and_line_or_row(
    tmp_path: Path, name: str, content: bytes, line: int, problem: str
) -> None:
    path = put(tmp_path, name, content)
    with pytest.raises(DataError) as caught:
        read_dataset(path)
    assert str(caught.value) == f"{path}:{line}: {problem}"


def test_every_damaged_parquet_file_is_a_fault(tmp_path: Path) -> None:
    content = CONTENT["data.parquet"]
    for cut in range(0, len(content), 7):
        with pytest.raises(DataError, match=NOT_PARQUET):
            read_dataset(put(tmp_path, "cut.parquet", content[:cut]))


def test_a_file_of_another_kind_is_refused_by_its_name(tmp_path: Path) -> None:
    known = r"\(accepted: \.csv, \.json, \.jsonl, \.ndjson, \.parquet\)"
    with pytest.raises(InvalidInputError, match=rf"data\.xlsx: not a known kind of file, \.xlsx {known}"):
        read_dataset(put(tmp_path, "data.xlsx", b""))
    with pytest.raises(InvalidInputError, match=rf"not a known kind of file, \.jsnl; did you mean '\.jsonl'\? {known}"):
        read_dataset(put(tmp_path, "data.jsnl", b""))
    with pytest.raises(InvalidInputError, match=r"a folder, not a file$"):
        read_dataset(tmp_path)


def test_turns_come_out_of_csv_as_json_and_out_of_parquet_as_they_are(tmp_path: Path) -> None:
    turns = [{"role": "user", "content": "hi"}, {"role": "assistant", "content": "hello"}]
    calling = {"role": "assistant", "content": "", "tool_calls": [{"name": "f", "arguments": "{}"}]}
    sheet = read_dataset(put(tmp_path, "a.csv", in_csv([{"messages": json.dumps(turns), "tools": ""}])))
    table = read_dataset(
        put(tmp_path, "a.parquet", in_parquet([{"messages": turns}, {"messages": [turns[0], calling]}]))
    )
    assert sheet.records[0] == Chat(tuple(turns), (), 1 + 1)
    assert table.records[0] == Chat(tuple(turns), (), 1)
    assert isinstance(table.records[1], Chat)
    assert table.records[1].turns[1]["tool_calls"][0]["function"] == {"name": "f", "arguments": {}}


def test_a_long_cell_is_read_and_the_limit_of_others_stays(tmp_path: Path) -> None:
    limit = csv.field_size_limit()
    (record,) = read_dataset(put(tmp_path, "a.csv", b"text\n" + b"x" * 200_000)).records
    assert len(record[0]) == 200_000
    assert csv.field_size_limit() == limit


def test_all_faults_are_found_beside_what_can_be_read(tmp_path: Path) -> None:
    read = read_all(put(tmp_path, "a.jsonl", b"\n".join([b"{", GOOD, b"7", b'{"prompt": ""}', GOOD])))
    assert [fault.line for fault in read.faults] == [1, 3, 4]
    assert read.dataset.records == (Pair("a", "b", 2), Pair("a", "b", 5))
