"""`adapterhub batch`: adapters and formats mixed by line, results in order, and on from there after anything."""

from __future__ import annotations

import fcntl
import json
import random
import re
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result
from conftest import save_random_adapter

from adapterhub.base import BaseModel
from adapterhub.cli.main import cli
from adapterhub.engine import Blend, Engine, Request, Sampling
from adapterhub.prompt_format import PromptFormat
from adapterhub.store import Store

METHODS = {"team/a": "lora", "team/b": "ia3", "team/c": "prompt_tuning"}
NAMES = ("", *METHODS)


@pytest.fixture(scope="module")
def base(tiny_base: Path) -> BaseModel:
    return BaseModel.load(str(tiny_base), quantization="int8")


@pytest.fixture(autouse=True)
def _adapters(base: BaseModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for seed, (name, method) in enumerate(METHODS.items()):
        Store.default().publish(save_random_adapter(tmp_path / method, method, base.shape, seed=seed), name)
    monkeypatch.chdir(tmp_path)


def write(rows: list[Any]) -> None:
    Path("in.jsonl").write_text("".join(f"{json.dumps(row)}\n" for row in rows))


def batch(base: Path, *words: str) -> Result:
    return CliRunner().invoke(cli, ["batch", "in.jsonl", "out.jsonl", "--base", str(base), *words])


def results() -> list[dict[str, Any]]:
    return [json.loads(line) for line in Path("out.jsonl").read_text().splitlines()]


def mixed(count: int) -> list[dict[str, Any]]:
    """Lines of all adapters and the base; every third one OpenAI's."""
    rows: list[dict[str, Any]] = []
    for index in range(count):
        name, tokens = NAMES[index % 4], 4 + index % 13
        if index % 3 == 2:
            asked = {"model": name or "base", "messages": [{"role": "user", "content": f"q{index}"}]}
            body = asked | {"max_tokens": tokens, "logprobs": index % 2 == 0}
            url = "/v1/chat/completions"
            rows.append({"custom_id": f"c{index}", "method": "POST", "url": url, "body": body})
        else:
            rows.append({"id": index, "prompt": f"p{index}", "adapter": name, "max_new_tokens": tokens})
    return rows


def test_every_line_has_its_own_adapters_answer_in_order(base: BaseModel, tiny_base: Path) -> None:
    write([{"id": n, "prompt": f"p{n}", "adapter": NAMES[n % 4], "max_new_tokens": 30 - n} for n in range(12)])
    done = batch(tiny_base)
    assert done.exit_code == 0, done.stderr
    assert done.stdout.startswith("out.jsonl: 12 lines, 3 adapters; ")
    digests = {name: Store.default().pin(name).digest if name else "" for name in NAMES}
    chat = PromptFormat.of(base.tokenizer, "chat")
    prompts = [tuple(chat.encode_prompt(base.tokenizer, f"p{n}")) for n in range(12)]
    with Engine(base) as engine:
        for name in METHODS:
            engine.load_adapter(Store.default().resolve(name))
        alone = [
            engine.generate([Request(prompt, digests[NAMES[n % 4]], Sampling(max_new_tokens=30 - n))])[0]
            for n, prompt in enumerate(prompts)
        ]
    assert results() == [
        {
            "line": n + 1,
            "id": n,
            "text": answer.text,
            "finish_reason": answer.finish_reason,
            "adapter": NAMES[n % 4],
            "adapter_digest": digests[NAMES[n % 4]],
            "usage": {"prompt_tokens": len(prompts[n]), "generated_tokens": len(answer.token_ids)},
        }
        for n, answer in enumerate(alone)
    ]


def test_lines_of_openais_batch_are_answered_as_its_api_does(tiny_base: Path) -> None:
    turns = [{"role": "developer", "content": "short"}, {"role": "user", "content": [{"type": "text", "text": "hi"}]}]
    asked = {"model": tiny_base.name, "messages": turns, "max_completion_tokens": 5, "logprobs": True}
    chat = {"custom_id": "a", "method": "POST", "url": "/v1/chat/completions", "body": asked | {"top_logprobs": 2}}
    body = {
        "model": "team/a",
        "prompt": "hi",
        "n": 1,
        "user": "me",
        "frequency_penalty": 0,
        "stop": None,
        "ignore_eos": True,
    }
    raw = {"custom_id": "b", "method": "POST", "url": "/v1/completions", "body": body}
    write([chat, raw, {"custom_id": "c"} | {k: v for k, v in raw.items() if k != "custom_id"}])
    assert batch(tiny_base).exit_code == 0
    first, second, third = results()
    assert [each["custom_id"] for each in (first, second, third)] == ["a", "b", "c"]
    assert [each["error"] for each in (first, second, third)] == [None] * 3
    answer = first["response"]["body"]
    assert (answer["object"], answer["model"], first["response"]["status_code"]) == (
        "chat.completion",
        tiny_base.name,
        200,
    )
    (choice,) = answer["choices"]
    assert len(choice["logprobs"]["content"]) == answer["usage"]["completion_tokens"] == 5
    assert all(len(each["top_logprobs"]) == 2 for each in choice["logprobs"]["content"])
    completion = second["response"]["body"]
    assert completion["usage"] == {"prompt_tokens": 2, "completion_tokens": 16, "total_tokens": 18}  # raw, and short
    assert completion["adapter_digest"] == Store.default().pin("team/a").digest
    assert completion["choices"] != third["response"]["body"]["choices"]  # sampled, each line by a seed of its own


def test_options_and_structures_hold_in_both_formats(base: BaseModel, tiny_base: Path) -> None:
    turns = [{"role": "user", "content": "hi"}]
    body = {"model": "team/a", "messages": turns, "temperature": 0, "logit_bias": {"40": 100}, "max_tokens": 3}
    schema = {"type": "object", "properties": {"a": {"enum": [1]}}, "required": ["a"], "additionalProperties": False}
    asked = {"type": "json_schema", "json_schema": {"name": "x", "schema": schema}}
    write(
        [
            {"prompt": "hi", "structure": {"regex": "[ab]{3}"}, "adapter": "team/c", "lookup_tokens": 4},
            {"prompt": "hi", "structure": {"json_schema": schema}, "temperature": 1.5},
            {"prompt": "hi", "structure": {"regex": "("}},
            {"custom_id": "a", "method": "POST", "url": "/v1/chat/completions", "body": body},
            {
                "custom_id": "b",
                "method": "POST",
                "url": "/v1/chat/completions",
                "body": body | {"response_format": asked, "logit_bias": {}, "max_tokens": 32},
            },
        ]
    )
    assert batch(tiny_base).exit_code == 1  # one line has an error
    first, second, bad, biased, held = results()
    assert re.fullmatch("[ab]{3}", first["text"])
    assert json.loads(second["text"]) == {"a": 1}
    assert bad["error"]["field"] == "structure.regex"
    assert biased["response"]["body"]["choices"][0]["message"]["content"] == str(base.tokenizer.decode([40] * 3))
    assert json.loads(held["response"]["body"]["choices"][0]["message"]["content"]) == {"a": 1}
    write([{"prompt": "hi", "structure": {"regex": "a", "grammar": "b"}}])
    assert "line 1: structure: regex and grammar given" in batch(tiny_base, "--overwrite").stderr


def test_lines_may_name_blends(base: BaseModel, tiny_base: Path, tmp_path: Path) -> None:
    adapter = Store.default().publish(save_random_adapter(tmp_path / "d", "lora", base.shape, seed=9), "team/d")
    shares = {"team/a": 0.5, "team/d": -2.0}
    body = {"model": "base", "prompt": "hi", "temperature": 0, "prompt_format": "chat"}
    blend = [{"adapter": name, "weight": weight} for name, weight in shares.items()]
    asked = {"method": "POST", "url": "/v1/completions", "body": body | {"blend": blend}}
    own = {"prompt": "hi", "max_new_tokens": 16, "format": "chat"}
    write([own | {"blend": shares}, {"custom_id": "a"} | asked, own | {"adapter": "team/a"}])
    assert batch(tiny_base).exit_code == 0
    first, second, third = results()
    digests = [(Store.default().resolve("team/a"), 0.5), (Store.default().resolve(adapter), -2.0)]
    assert (first["adapter"], first["adapter_digest"]) == ("0.5*team/a-2*team/d", Blend.of(digests).digest)
    answer = second["response"]["body"]
    assert (answer["choices"][0]["text"], answer["adapter_digest"]) == (first["text"], first["adapter_digest"])
    assert third["text"] != first["text"]
    write([own | {"blend": {"team/a": 1, "base": 1}}])
    assert "line 1: blend: 'base' is the base" in batch(tiny_base, "--overwrite").stderr
    write([own | {"blend": shares, "adapter": "team/a"}])
    assert "line 1: adapter: not accepted beside blend" in batch(tiny_base, "--overwrite").stderr


def test_a_batch_that_is_killed_at_any_moment_goes_on_to_the_same_bytes(tiny_base: Path) -> None:
    write(mixed(160))
    assert batch(tiny_base, "--quiet").exit_code == 0
    whole = Path("out.jsonl").read_bytes()
    Path("out.jsonl").unlink()
    Path("out.jsonl.batch.json").unlink()
    script = Path(__file__).with_name("kill_run.py")
    words = ["batch", "in.jsonl", "out.jsonl", "--base", str(tiny_base), "--max-sequences", "2"]
    moments = random.Random(5)
    for least in (1, 70):
        process = subprocess.Popen([sys.executable, str(script), *words], stderr=subprocess.PIPE, text=True)
        while process.poll() is None and not _lines() > least:
            time.sleep(0.005)
        time.sleep(moments.random() / 20)
        process.kill()
        _, err = process.communicate(timeout=60)
        assert process.returncode == -signal.SIGKILL, err
        assert least < _lines() < 160
    before = _lines()
    done = batch(tiny_base)
    assert f"160 lines ({before} from before), 3 adapters" in done.stdout, done.stderr
    assert Path("out.jsonl").read_bytes() == whole
    for cut in (len(whole) - 1, moments.randrange(len(whole)), 0):  # as a loss of power may leave it
        Path("out.jsonl").write_bytes(whole[:cut])
        assert batch(tiny_base, "--quiet").exit_code == 0
        assert Path("out.jsonl").read_bytes() == whole


def _lines() -> int:
    path = Path("out.jsonl")
    return path.read_bytes().count(b"\n") if path.exists() else 0


def test_a_finished_output_is_left_alone_and_another_input_is_refused(tiny_base: Path) -> None:
    write([{"prompt": "a", "max_new_tokens": 3}])
    assert batch(tiny_base).exit_code == 0
    before = Path("out.jsonl").stat().st_mtime_ns
    again = batch(tiny_base)
    assert (again.exit_code, again.stdout) == (0, "out.jsonl: finished already, 1 lines; nothing to do\n")
    assert Path("out.jsonl").stat().st_mtime_ns == before
    write([{"prompt": "b", "max_new_tokens": 3}])
    refused = batch(tiny_base)
    assert refused.exit_code == 4
    assert "in.jsonl: not what out.jsonl was begun with; put that back to go on, or begin anew" in refused.stderr
    assert batch(tiny_base, "--overwrite").exit_code == 0


def test_what_is_no_output_of_this_batch_is_not_touched(tiny_base: Path) -> None:
    write([{"prompt": "a", "max_new_tokens": 3}])
    Path("out.jsonl").write_text("my novel")
    refused = batch(tiny_base)
    assert (refused.exit_code, Path("out.jsonl").read_text()) == (4, "my novel")
    assert "out.jsonl: exists, and out.jsonl.batch.json does not; begin anew with --overwrite" in refused.stderr
    with Path("out.jsonl").open("ab") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        refused = batch(tiny_base, "--overwrite")
    assert (refused.exit_code, Path("out.jsonl").read_text()) == (4, "my novel")
    assert "another process is writing it" in refused.stderr


def test_it_goes_on_with_the_digests_and_the_base_that_it_began_with(
    tiny_base: Path, base: BaseModel, tmp_path: Path
) -> None:
    write([{"prompt": f"p{n}", "adapter": "team/a", "max_new_tokens": 5} for n in range(4)])
    assert batch(tiny_base, "--quiet").exit_code == 0
    whole = Path("out.jsonl").read_text()
    half = "".join(whole.splitlines(keepends=True)[:2])
    Path("out.jsonl").write_text(half)
    other = batch(tiny_base, "--quantize", "none")
    assert other.exit_code == 4
    assert "give the same --base and --quantize, or --server, to go on" in other.stderr
    Store.default().publish(save_random_adapter(tmp_path / "new", "lora", base.shape, seed=9), "team/a")
    moved = batch(tiny_base)
    assert "note: team/a names another by now; the digests of out.jsonl.batch.json answered" in moved.stderr
    assert Path("out.jsonl").read_text() == whole


@pytest.mark.parametrize(
    ("row", "code", "told"),
    [
        ("nonsense", 2, "line 2: not JSON"),
        ({"prompt": "x", "temprature": 1}, 2, "line 2: temprature: unknown; did you mean 'temperature'?"),
        ({"prompt": "x", "temperature": 11}, 2, "line 2: temperature: Input should be less than or equal to 10"),
        ({"prompt": "x", "messages": []}, 2, "line 2: prompt: either prompt or messages is needed"),
        ({"messages": [{"role": "assistant", "content": ""}]}, 2, "line 2: messages.0.role: the last turn is the user"),
        ({"messages": [{"role": "user", "content": 3}]}, 2, "line 2: messages.0.content: text is accepted"),
        ({"prompt": "x", "adapter": "team/d"}, 3, "line 2: adapter: no adapter 'team/d' in"),
        ({"prompt": "x", "max_new_tokens": 600}, 2, "line 2: max_new_tokens: 21 prompt + 600 new tokens are over"),
        ({"custom_id": "a", "method": "GET"}, 2, "line 2: method: 'GET' (accepted: POST)"),
        ({"url": "/v1/embeddings", "method": "POST", "custom_id": "a"}, 2, "line 2: url: '/v1/embeddings' (accepted"),
        ({"body": {"model": "base", "prompt": "x", "n": 2}}, 2, "line 2: body: n: not served in a batch (accepted: 1)"),
        ({"body": {"model": "base", "prompt": "x", "top_p": 2}}, 2, "line 2: body: top_p: Input should be less"),
        ({"body": {"prompt": "x"}}, 2, "line 2: body: model: an adapter's reference, or the base's name, is needed"),
        ({"custom_id": "first", "body": {"model": "", "prompt": "x"}}, 2, "custom_id: 'first' stands in line 1 too"),
    ],
)
def test_one_bad_line_is_told_before_anything_is_written(row: Any, code: int, told: str, tiny_base: Path) -> None:
    openai = {"custom_id": "x", "method": "POST", "url": "/v1/completions"}
    first = openai | {"custom_id": "first", "body": {"model": "base", "prompt": "x"}}
    write([first, openai | row if isinstance(row, dict) and "body" in row else row])
    if row == "nonsense":
        Path("in.jsonl").write_text(f"{json.dumps(first)}\nnonsense\n")
    refused = batch(tiny_base)
    assert refused.exit_code == code, refused.output
    assert "error: in.jsonl: line 2: " in refused.stderr
    assert told in refused.stderr
    assert (_lines(), Path("out.jsonl.batch.json").exists()) == (0, False)


def test_bad_lines_can_be_skipped_and_tell_why(tiny_base: Path) -> None:
    bad = {"custom_id": "b", "method": "POST", "url": "/v1/completions", "body": {"model": "team/d", "prompt": "x"}}
    good = {"prompt": "x", "max_new_tokens": 3}
    rows = [good, bad, bad | {"custom_id": "c", "url": "x"}, {"promt": ""}, good | {"adapter": "team/d"}, good]
    write([*rows, good | {"max_new_tokens": 600}])
    done = batch(tiny_base, "--skip-bad")
    assert done.exit_code == 1
    assert "7 lines, 5 with errors, 0 adapters" in done.stdout
    first, missing, broken, unknown, nobody, last, long = results()
    assert first["text"] == last["text"]
    assert (missing["custom_id"], missing["response"]["status_code"]) == ("b", 404)
    assert (broken["custom_id"], broken["response"], broken["error"]["code"]) == ("c", None, "invalid_line")
    assert (unknown["line"], unknown["error"]["field"]) == (4, "promt")
    assert (nobody["line"], nobody["error"]["type"]) == (5, "AdapterNotFound")
    assert (long["line"], long["error"]["field"]) == (7, "max_new_tokens")
