"""`route`, `keys`, and the options by which verbs find a server."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from adapterhub_server.access import Access
from adapterhub_server.keys import Keys
from click.testing import CliRunner, Result
from serving import Serving, serving

from adapterhub.base import BaseModel
from adapterhub.cli.main import cli


@pytest.fixture(scope="module")
def keys(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("keys") / "keys.json"


@pytest.fixture(scope="module")
def server(tiny_base: Path, keys: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Serving]:
    base = BaseModel.load(str(tiny_base), quantization="none")
    with serving(base, tmp_path_factory.mktemp("serving"), access=Access(Keys(keys))) as running:
        running.publish("stable")
        running.publish("canary", "bottleneck")
        yield running


def run(*words: str) -> Result:
    return CliRunner().invoke(cli, words)


def made(keys: Path, name: str, *words: str) -> str:
    done = run("keys", "create", name, "--tenant", "t", "--adapter", "*", "--file", str(keys), *words)
    assert done.exit_code == 0, done.output
    return done.stdout.strip()


def test_a_key_made_by_the_verb_opens_the_server_and_a_revoked_one_does_not(
    server: Serving, keys: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    here = ("--address", server.address)
    assert run("ps", *here).exit_code == 5
    monkeypatch.setenv("ADAPTERHUB_API_KEY", made(keys, "one"))
    assert run("generate", "hello", "--adapter", "stable", "--max-new-tokens", "2", *here).exit_code == 0
    assert run("load", "stable", *here).exit_code == 5
    assert "one" in run("keys", "list", "--file", str(keys)).stdout
    assert run("keys", "revoke", "one", "--file", str(keys)).exit_code == 0
    assert run("ps", *here).exit_code == 5
    assert run("keys", "revoke", "one", "--file", str(keys)).exit_code == 3


def test_a_key_has_no_place_in_the_config_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "config.toml").write_text('[ps]\napi_key = "ahk_..."\n')
    monkeypatch.setenv("ADAPTERHUB_CONFIG", str(tmp_path / "config.toml"))
    done = run("ps")
    assert done.exit_code == 2
    assert "ps.api_key: no option of `ps`" in done.stderr


def test_routes_are_set_listed_and_removed(server: Serving, keys: Path) -> None:
    key = made(keys, "manager", "--scope", "infer", "--scope", "manage")
    here = ("--address", server.address, "--api-key", key)
    rule = "beta: x-plan=beta, x-eu=1 -> canary=3, base"
    words = ("route", "set", "support", "--target", "stable=95", "--target", "canary", "--rule", rule)
    assert run(*words, *here).exit_code == 0
    (told,) = json.loads(run("route", "list", "--json", *here).stdout)
    assert told["rules"][0]["metadata"] == {"x-plan": "beta", "x-eu": "1"}
    assert told["rules"][0]["targets"] == [{"adapter": "canary", "weight": 3}, {"adapter": "", "weight": 1}]
    assert [target["weight"] for target in told["targets"]] == [95, 1]
    assert "beta: x-eu=1, x-plan=beta" in run("route", "list", *here).stdout
    answer = run("generate", "hello", "--task", "support", "--max-new-tokens", "1", "--json", *here)
    assert json.loads(answer.stdout)["route"]["name"] == "support"
    assert run("route", "rm", "support", *here).exit_code == 2
    assert run("route", "rm", "support", "--yes", *here).exit_code == 0
    assert run("route", "rm", "support", "--yes", *here).exit_code == 3


@pytest.mark.parametrize(
    "words", [("--target", "a=x"), ("--target", "a", "--rule", "no arrow"), ("--target", "a", "--rule", "r: k -> a")]
)
def test_a_route_that_is_not_understood_says_what_is(server: Serving, words: tuple[str, ...]) -> None:
    done = run("route", "set", "t", "--address", server.address, *words)
    assert done.exit_code == 2
    assert "REF" in done.stderr


def test_a_pinned_adapter_is_shown_as_such(server: Serving, keys: Path) -> None:
    here = ("--address", server.address, "--api-key", made(keys, "pinner", "--scope", "infer", "--scope", "manage"))
    assert run("load", "stable", "--pin", *here).exit_code == 0
    assert "resident, pinned" in run("ps", *here).stdout
    assert run("load", "stable", "--unpin", *here).exit_code == 0
    assert run("load", "nobody", *here).exit_code == 3
    assert run("unload", "stable", *here).exit_code == 0
    assert "unloaded" in run("ps", *here).stdout
