"""A batch that a running server answers."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result
from serving import Serving, serving

from adapterhub.base import BaseModel
from adapterhub.batch import BatchConfig, run_batch
from adapterhub.cli.main import cli
from adapterhub.client import Client
from adapterhub.errors import UnavailableError


@pytest.fixture(scope="module")
def server(tiny_base: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Serving]:
    folder = tmp_path_factory.mktemp("serving")
    with serving(BaseModel.load(str(tiny_base), quantization="int8"), folder, max_requests=8) as running:
        running.publish("team/a", "lora")
        running.publish("team/b", "ia3")
        yield running


@pytest.fixture(autouse=True)
def _here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def batch(*words: str) -> Result:
    return CliRunner().invoke(cli, ["batch", "in.jsonl", *words])


def write(rows: list[dict[str, Any]]) -> None:
    Path("in.jsonl").write_text("".join(f"{json.dumps(row)}\n" for row in rows))


def test_a_server_answers_as_an_own_engine_does(
    server: Serving, tiny_base: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    names = ("", "team/a", "team/b")
    turns = [{"role": "system", "content": "s"}, {"role": "user", "content": "u"}]
    prompts: list[dict[str, Any]] = [
        {"prompt": "text"},
        {"prompt": [5, 6]},
        {"messages": turns},
        {"prompt": "r", "format": "raw"},
    ]
    write(
        [
            *(prompts[n % 4] | {"adapter": names[n % 3], "max_new_tokens": 9, "logprobs": 1} for n in range(22)),
            {"prompt": "x", "adapter": "team/b", "structure": {"regex": "[ab]{3}"}, "logprobs": 1},
            {"prompt": "x", "blend": {"team/a": 2.5}, "max_new_tokens": 9, "min_tokens": 9, "logprobs": 1},
        ]
    )
    done = batch("far.jsonl", "--server", server.address)
    assert done.exit_code == 0, done.stderr
    monkeypatch.setenv("ADAPTERHUB_STORE", str(server.store.root))
    assert batch("own.jsonl", "--base", str(tiny_base)).exit_code == 0
    far, own = (
        [json.loads(line) for line in Path(name).read_text().splitlines()] for name in ("far.jsonl", "own.jsonl")
    )
    for one, other in zip(far, own, strict=True):
        for each in (one, other):
            each["logprobs"] = [(token["token_id"], round(token["logprob"], 4)) for token in each["logprobs"]]
        assert one == other
    Path("far.jsonl").write_text(Path("far.jsonl").read_text()[:-20])  # what a server began, an own engine ends
    Path("far.jsonl.batch.json").write_text(Path("own.jsonl.batch.json").read_text())
    assert "(23 from before)" in batch("far.jsonl", "--base", str(tiny_base)).stdout


def test_an_adapter_that_the_server_does_not_have_is_told_first(server: Serving) -> None:
    write([{"prompt": "x"}, {"prompt": "x", "adapter": "team/zz"}])
    refused = batch("out.jsonl", "--server", server.address)
    assert refused.exit_code == 3
    assert refused.stderr.startswith("error: in.jsonl: line 2: adapter: no adapter 'team/zz'")


def test_what_the_server_refuses_is_an_error_line(server: Serving) -> None:
    write([{"prompt": "x", "max_new_tokens": 600}, {"prompt": "x", "max_new_tokens": 3}])
    done = batch("out.jsonl", "--server", server.address)
    assert done.exit_code == 1
    refused, answered = (json.loads(line) for line in Path("out.jsonl").read_text().splitlines())
    assert refused["error"]["type"] == "InvalidInput"
    assert answered["usage"]["generated_tokens"] == 3


def test_without_a_server_nothing_is_written_and_it_can_be_tried_again() -> None:
    write([{"prompt": "x"}])
    alone = batch("out.jsonl", "--server", "127.0.0.1:1")
    assert (alone.exit_code, Path("out.jsonl").read_text()) == (6, "")
    both = batch("out.jsonl", "--server", "127.0.0.1:1", "--base", "x")
    assert both.exit_code == 2
    assert "--base and --quantize are for an own engine" in both.stderr


def test_what_a_dying_server_answered_is_written_and_an_own_engine_ends_it(tiny_base: Path, tmp_path: Path) -> None:
    write([{"prompt": f"p{n}", "max_new_tokens": 20, "format": "raw"} for n in range(60)])
    config = BatchConfig(input=Path("in.jsonl"), output=Path("out.jsonl"), base=str(tiny_base))
    base = BaseModel.load(str(tiny_base), quantization="int8")
    with serving(base, tmp_path, max_sequences=2) as running:

        def die(done: int, total: int) -> None:
            if done == 9:
                threading.Thread(target=running.engine.close).start()

        with pytest.raises(UnavailableError):
            run_batch(config.model_copy(update={"base": ""}), Client(running.address), progress=die)
    written = Path("out.jsonl").read_bytes()
    assert 0 < written.count(b"\n") < 60
    assert run_batch(config).before == written.count(b"\n")
    assert Path("out.jsonl").read_bytes().startswith(written)
    assert Path("out.jsonl").read_bytes().count(b"\n") == 60
