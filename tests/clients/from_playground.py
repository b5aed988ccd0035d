"""The playground in a real browser, used by its keyboard and looked at, against a real server."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from adapterhub_server.access import Access
from adapterhub_server.keys import Keys
from openai import OpenAI
from running import HERE, browser_environment, run_node
from serving import LONG, Serving, serving

from adapterhub.base import BaseModel
from adapterhub.testing import save_tiny_llama

PROMPT = "naïve café, <b>東京</b>?"
ADAPTERS = ["team/orders", "team/watched"]


@pytest.fixture(scope="module")
def unpacked(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    return browser_environment(tmp_path_factory.mktemp("browser"))


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Serving]:
    folder = tmp_path_factory.mktemp("playground")
    base = BaseModel.load(str(save_tiny_llama(folder / "tiny")), quantization="none")
    with serving(base, folder, http=True) as running:
        for name, method in zip(ADAPTERS, ("lora", "bottleneck"), strict=True):
            running.publish(name, method)
        yield running


def used(server: Serving, unpacked: dict[str, str], screenshot: Path | str = "", **asked: Any) -> dict[str, Any]:
    """What a person saw who asked that. Each sampled row takes some time, so that there is something to see."""
    assert server.web is not None
    server.pace.seconds = 0.004
    asked = {"adapters": ADAPTERS, "prompt": PROMPT, **asked}
    ended = run_node(HERE / "playground.cjs", server.web.page, str(screenshot), json.dumps(asked), environment=unpacked)
    server.pace.seconds = 0.0
    server.wait_idle()
    found: dict[str, Any] = json.loads(ended.stdout)
    assert {url for url in found["requests"] if not url.startswith(server.web.page)} == set()
    return found


def test_answers_come_side_by_side_and_are_those_of_the_api(
    server: Serving, unpacked: dict[str, str], tmp_path: Path
) -> None:
    before = server.engine.stats()
    found = used(server, unpacked, tmp_path / "seen", tokens=48)
    after = server.engine.stats()
    columns = found["after"]["columns"]
    assert [column["model"] for column in columns] == [server.engine.base.record.id, *ADAPTERS]
    with OpenAI(base_url=server.url, api_key="none", max_retries=0) as client:
        for column in columns:
            turns: Any = [{"role": "user", "content": PROMPT}]
            answer: Any = client.chat.completions.create(
                model=column["model"], messages=turns, temperature=0, max_tokens=48, seed=0
            )
            told = column["facts"]
            assert column["text"] == answer.choices[0].message.content
            assert column["state"] == "ended"
            assert column["note"] == ""
            assert told["tokens"] == str(answer.usage.completion_tokens)
            assert told["reason"] == answer.choices[0].finish_reason
            assert told["digest"] == (answer.adapterhub["digest"][7:19] or "\u2013")
            assert float(told["rate"]) > 0
    assert len({column["text"] for column in columns}) == 3
    assert found["after"]["status"] == "3 of 3 ended."
    assert after.mixed_adapter_steps > before.mixed_adapter_steps
    assert found["complaints"] == []
    assert_tells_batches(found["after"], after.mixed_adapter_steps - before.mixed_adapter_steps)
    assert_looks_sound(found["views"])


def assert_tells_batches(seen: dict[str, Any], mixed: int) -> None:
    """The claim of how many steps had all answers is bounded by the engine's own count of those with two adapters."""
    (steps,) = map(int, re.findall(r"^In (\d+) steps, all 3 that ended were rows of one", seen["together"]))
    assert 0 < steps <= mixed
    assert [span["model"] for span in seen["spans"]] == [column["model"] for column in seen["columns"]]
    for span, column in zip(seen["spans"], seen["columns"], strict=True):
        own, *shared = map(int, re.findall(r"\d+(?= steps?|(?= beside))", span["told"]))
        assert own == int(column["facts"]["tokens"])  # the prompt fits one step, which gives the first token
        assert all(steps <= count <= own for count in shared), span
        assert span["bar"] > 3


def assert_looks_sound(views: dict[str, Any]) -> None:
    assert len(views) == 6
    for name, view in views.items():
        assert view["overflow"] <= 0, name
        assert view["violations"] == [], name
        assert view["passes"] > 15, name
    assert len({view["background"] for view in views.values()}) == 2


def test_raw_text_is_gone_on_with(server: Serving, unpacked: dict[str, str]) -> None:
    found = used(server, unpacked, kind="raw", tokens=8)
    with OpenAI(base_url=server.url, api_key="none", max_retries=0) as client:
        for column in found["after"]["columns"]:
            answer = client.completions.create(model=column["model"], prompt=PROMPT, temperature=0, max_tokens=8)
            assert column["text"] == answer.choices[0].text


def test_one_that_is_refused_says_why_and_the_others_go_on(server: Serving, unpacked: dict[str, str]) -> None:
    found = used(server, unpacked, others=["nobody"], tokens=8)
    *others, refused = found["after"]["columns"]
    assert [column["state"] for column in others] == ["ended"] * 3
    assert refused["state"] == "failed"
    assert "nobody" in refused["note"]
    assert refused["note"].endswith("(404 model_not_found)")
    assert found["after"]["status"] == "3 of 4 ended, 1 failed."


def test_stop_ends_every_generation(server: Serving, unpacked: dict[str, str]) -> None:
    before = server.engine.stats().generated_tokens
    found = used(server, unpacked, tokens=LONG, stop=True)
    assert "stopped" in [column["state"] for column in found["after"]["columns"]]
    assert server.engine.stats().generated_tokens - before < LONG


def test_beyond_a_browsers_connections_it_says_who_waits(
    server: Serving, unpacked: dict[str, str], tmp_path: Path
) -> None:
    found = used(server, unpacked, tmp_path / "seen", others=[f"task:{name}" for name in "abcd"], tokens=4)
    assert_looks_sound(found["views"])
    assert "of 7 answers, 1 begins when another has ended" in found["after"]["connections"]
    assert len(found["after"]["columns"]) == 7


def test_a_key_is_asked_for_and_kept_in_the_tab(tmp_path: Path, unpacked: dict[str, str]) -> None:
    base = BaseModel.load(str(save_tiny_llama(tmp_path / "tiny")), quantization="none")
    keys = Keys(tmp_path / "keys.json")
    key = keys.create("team", tenant="team", scopes=["infer"], adapters=["team/*"])
    with serving(base, tmp_path, access=Access(keys), http=True) as server:
        for name in (*ADAPTERS, "other/own"):
            server.publish(name)
        found = used(server, unpacked, key=key, tokens=8)
    assert "needs an API key" in found["before"]["refusal"]
    assert found["before"]["adapters"] == []
    assert found["after"]["refusal"] == ""
    assert found["after"]["adapters"] == ADAPTERS
    assert found["after"]["status"] == "3 of 3 ended."
    kept = found["after"]["kept"]
    assert kept["session"] == {"adapterhub.key": key}
    assert (kept["local"], kept["cookie"]) == ({}, "")
    assert key not in kept["url"]
