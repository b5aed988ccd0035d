"""Data sets of the Hub: how they are called, which files are a split, what is recorded, and what goes wrong."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from huggingface_hub import constants
from pyarrow import parquet
from stand_in_hub import StandInHub

from adapterhub.data import read_dataset
from adapterhub.data.hub_ref import HubRef
from adapterhub.errors import AdapterHubError, AuthError, DataError, InvalidInputError, NotFoundError, UnavailableError
from adapterhub.train import TrainConfig, train

CONFIGS = b"""---
license: mit
configs:
- config_name: main
  default: true
  data_files:
  - split: train
    path: main/train-*.jsonl
  - split: test
    path: main/test.jsonl
- config_name: extra
  data_files: extra/*.csv
---
# Data
"""


def lines(*prompts: str) -> bytes:
    return b"".join(json.dumps({"prompt": p, "completion": "x"}).encode() + b"\n" for p in prompts)


def in_parquet(*rows: dict[str, Any]) -> bytes:
    sink = io.BytesIO()
    parquet.write_table(pa.Table.from_pylist(list(rows)), sink)
    return sink.getvalue()


def prompts(ref: str) -> list[str]:
    return [pair.prompt for pair in read_dataset(ref).pairs]


@pytest.fixture
def configured(hub: StandInHub) -> StandInHub:
    files = {
        "README.md": CONFIGS,
        "main/train-0.jsonl": lines("a", "b"),
        "main/train-1.jsonl": lines("c"),
        "main/test.jsonl": lines("t"),
        "extra/all.csv": b"prompt,completion\ne,x\n",
        "load.py": b"raise SystemExit",
    }
    hub.add("datasets/org/qa", files)
    return hub


@pytest.mark.parametrize(
    ("text", "meant"),
    [
        ("hf:org/name", ("org/name", "main", "", "train")),
        ("hf:org/name:test", ("org/name", "main", "", "test")),
        ("hf:org/name:main/test", ("org/name", "main", "main", "test")),
        ("hf:org/name@refs/pr/1:main/test", ("org/name", "refs/pr/1", "main", "test")),
        ("hf:org/name@v1.0", ("org/name", "v1.0", "", "train")),
    ],
)
def test_a_reference_says_repo_revision_config_and_split(text: str, meant: tuple[str, ...]) -> None:
    assert HubRef.parse(text) == meant


@pytest.mark.parametrize("text", ["hf:", "hf:name", "hf:org/name@", "hf:org/name:", "hf:org/../name", "hf:org/n:a/b/c"])
def test_what_is_no_reference_is_refused_with_what_is_accepted(text: str) -> None:
    with pytest.raises(InvalidInputError) as caught:
        read_dataset(text)
    assert str(caught.value) == (
        f"data: {text!r} is no data set of the Hub (accepted: hf:org/name[@revision][:[config/]split])"
    )


def test_the_readmes_configs_say_which_files_are_a_split(configured: StandInHub) -> None:
    assert prompts("hf:org/qa") == ["a", "b", "c"]
    assert prompts("hf:org/qa:test") == ["t"]
    assert prompts("hf:org/qa:extra/train") == ["e"]
    assert not configured.count(r"load\.py")


def test_the_commit_is_recorded_and_files_beside_the_split_are_not_fetched(configured: StandInHub) -> None:
    repo = configured.repos["datasets/org/qa"]
    first = repo.branches["main"]
    repo.commit({"main/test.jsonl": lines("later")})
    dataset = read_dataset(f"hf:org/qa@{first}:main/test")
    assert dataset.hub == f"hf:org/qa@{first}:main/test"
    assert [pair.prompt for pair in dataset.pairs] == ["t"]
    assert prompts("hf:org/qa:test") == ["later"]
    assert not configured.count(r"GET .*resolve.*(train-|all\.csv)")


def test_an_adapter_records_the_commit_it_was_trained_on(
    configured: StandInHub, tiny_base: Path, tmp_path: Path
) -> None:
    values = {"base": str(tiny_base), "data": "hf:org/qa", "validation": "hf:org/qa:test", "max_steps": 1}
    warned: list[str] = []
    config = TrainConfig.load(values, where="test")
    record = train(config, tmp_path / "out", warn=warned.append).adapter.provenance
    commit = configured.repos["datasets/org/qa"].branches["main"]
    assert record is not None
    assert record.data["hub"] == f"hf:org/qa@{commit}:main/train"
    assert record.data["validation_hub"] == f"hf:org/qa@{commit}:main/test"
    assert (record.data["examples"], record.data["validation_examples"], warned) == (3, 1, [])


def test_names_of_files_say_the_splits_where_no_config_does(hub: StandInHub) -> None:
    shards = {f"data/train-0000{n}-of-00002.parquet": in_parquet({"text": f"{n}"}) for n in range(2)}
    hub.add("datasets/org/text", {**shards, "data/test-00000-of-00001.parquet": in_parquet({"text": "t"})})
    dataset = read_dataset("hf:org/text")
    assert [tuple(record) for record in dataset.records] == [("0", 1), ("1", 2)]
    assert dataset.hub.endswith(":default/train")


def test_faults_name_the_file_at_its_commit(hub: StandInHub) -> None:
    commit = hub.add("datasets/org/bad", {"train.jsonl": lines("a") + b"{}\n"}).branches["main"]
    with pytest.raises(DataError, match=rf"^hf:org/bad@{commit}/train\.jsonl:2: no 'prompt'$"):
        read_dataset("hf:org/bad")
    hub.add("datasets/org/worse", {"train/1.jsonl": lines("a"), "train/2.jsonl": b"{\n"})
    with pytest.raises(DataError, match=r"^hf:org/worse@\w{40}/train/2\.jsonl:1: not JSON: "):
        read_dataset("hf:org/worse")


def test_rows_of_several_files_are_counted_through(hub: StandInHub) -> None:
    hub.add("datasets/org/two", {"train/1.jsonl": lines("a", "b"), "train/2.jsonl": lines("c") + b"{}\n"})
    with pytest.raises(DataError, match=r"^hf:org/two@\w{40}:default/train:4: no 'prompt'$"):
        read_dataset("hf:org/two")


def test_what_was_fetched_is_read_again_without_the_hub(
    configured: StandInHub, monkeypatch: pytest.MonkeyPatch
) -> None:
    online = read_dataset("hf:org/qa")
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    assert read_dataset("hf:org/qa") == online
    with pytest.raises(UnavailableError):
        read_dataset("hf:org/qa:test")
    with pytest.raises(UnavailableError):
        read_dataset("hf:org/other")


@pytest.mark.parametrize(
    ("ref", "error", "message"),
    [
        ("hf:org/none", NotFoundError, "hf:org/none@main: no such data set on the Hub, or it is private"),
        ("hf:org/qa@v9", NotFoundError, "hf:org/qa@v9: the Hub has the data set, but not this revision"),
        ("hf:org/qa:validation", NotFoundError, "no split 'validation' in config 'main' (known: test, train)"),
        ("hf:org/qa:other/train", NotFoundError, "BuilderConfig 'other' not found. Available: ['main', 'extra']"),
        ("hf:org/empty", NotFoundError, "no files of data (accepted: .csv, .json, .jsonl, .ndjson, .parquet)"),
        ("hf:org/far", NotFoundError, "its README.md names files elsewhere: 'https://elsewhere/a.jsonl'"),
        ("hf:org/up", NotFoundError, "its README.md names files elsewhere: '../*.jsonl'"),
        ("hf:org/bomb", NotFoundError, "its README.md has more than 100000 entries of configs"),
        ("hf:org/yaml", NotFoundError, "its README.md has a head that is not YAML"),
        ("hf:org/gated", AuthError, "gated on the Hub; ask for access there"),
    ],
)  # fmt: skip
def test_what_cannot_be_had_is_told_with_what_there_is(
    configured: StandInHub, ref: str, error: type[AdapterHubError], message: str
) -> None:
    def add(name: str, path: str) -> None:
        head = f"---\nconfigs:\n- config_name: a\n  data_files: {path}\n---\n"
        configured.add(f"datasets/org/{name}", {"README.md": head.encode(), "a.jsonl": lines("a")})

    add("far", "https://elsewhere/a.jsonl")
    add("up", "../*.jsonl")
    add("yaml", "[")
    lists = "".join(f"x{n}: &x{n} [{', '.join([f'*x{n - 1}'] * 9)}]\n" for n in range(1, 12))
    bomb = f"---\nx0: &x0 a\n{lists}configs: *x11\n---\n"
    configured.add("datasets/org/bomb", {"README.md": bomb.encode(), "a.jsonl": lines("a")})
    configured.add("datasets/org/empty", {"load.py": b""})
    configured.add("datasets/org/gated", {"a.jsonl": lines("a")}, gated=True)
    with pytest.raises(error) as caught:
        read_dataset(ref)
    assert message in str(caught.value)


def test_a_hub_that_is_not_there_is_named(hub: StandInHub, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")
    with pytest.raises(UnavailableError, match="the Hub does not answer, and it is not in the cache"):
        read_dataset("hf:org/qa")


@pytest.mark.parametrize(
    ("fault", "message"),
    [
        ({"status": 200, "text": "<html>"}, "what answers does not speak as the Hub does; is HF_ENDPOINT right?"),
        ({"status": 503, "times": 99}, "hf:org/qa@main: "),
    ],
)
def test_a_hub_that_answers_wrongly_is_named(configured: StandInHub, fault: dict[str, Any], message: str) -> None:
    configured.fail("GET /api/datasets", **fault)
    with pytest.raises(UnavailableError) as caught:
        read_dataset("hf:org/qa")
    assert message in str(caught.value)
