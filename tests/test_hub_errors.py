"""What goes wrong between here and the Hub: what is tried again, what is told, and how it ends."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from conftest import save_stub_adapter
from huggingface_hub import constants
from stand_in_hub import StandInHub
from stand_in_repo import Repo
from test_cli import run
from test_hub_pull import LOCAL, REPO, files_of, pulled

from adapterhub.adapter import TENSORS_FILE
from adapterhub.store import Store

DOWNLOAD = f"GET /{REPO}/resolve/.*/{TENSORS_FILE}"
ASK = f"GET /api/models/{REPO}/revision"


@pytest.fixture
def repo(hub: StandInHub, tmp_path: Path) -> Repo:
    return hub.add(REPO, files_of(tmp_path / "made"))


def published(tmp_path: Path) -> str:
    return Store.default().publish(save_stub_adapter(tmp_path / "own"), "mine").label


def assert_refused(words: tuple[str, ...], code: int, *told: str) -> str:
    done = run(*words)
    assert done.exit_code == code, done.output
    assert done.stderr.splitlines()[-1].startswith("error: ")
    assert [text for text in told if text not in done.stderr] == [], done.stderr
    assert "secret" not in done.output
    return done.stderr


@pytest.mark.usefixtures("repo")
@pytest.mark.parametrize(
    ("pattern", "status"),
    [(ASK, 429), (ASK, 500), (ASK, 504), ("GET /api/models/.*/tree", 502), ("HEAD", 503), (DOWNLOAD, 503)],
)
def test_what_passes_is_waited_for(hub: StandInHub, pattern: str, status: int) -> None:
    hub.fail(pattern, times=3, status=status)
    pulled(REPO)
    assert hub.waits == [1.0, 2.0, 4.0]


@pytest.mark.usefixtures("repo")
@pytest.mark.parametrize(
    ("headers", "waits"),
    [
        ({"Retry-After": "7"}, [7.0]),
        ({"ratelimit": '"api";r=0;t=9'}, [9.0]),
        ({"Retry-After": "Wed, 21 Oct 2015 07:28:00 GMT"}, [1.0]),
    ],
)
def test_the_hub_says_how_long_to_wait(hub: StandInHub, headers: dict[str, str], waits: list[float]) -> None:
    hub.fail(ASK, status=429, headers=headers)
    pulled(REPO)
    assert hub.waits == waits


@pytest.mark.usefixtures("repo")
def test_what_asks_for_an_hour_is_not_waited_for(hub: StandInHub) -> None:
    hub.fail(DOWNLOAD, status=429, headers={"Retry-After": "3600"})
    assert_refused(("pull", REPO), 6, "answers 429 and asks to wait for 3600 s, at most 60 s are waited")
    assert hub.waits == []


@pytest.mark.usefixtures("repo")
@pytest.mark.parametrize("pattern", [ASK, "HEAD", DOWNLOAD])
def test_what_does_not_pass_is_given_up_after_five_tries(hub: StandInHub, pattern: str) -> None:
    hub.fail(pattern, times=99, status=503)
    assert_refused(("pull", REPO), 6, REPO, "the Hub answers 503; tried 5 times")
    assert hub.count(pattern) == 5


def test_a_hub_that_is_not_there(hub: StandInHub, monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        monkeypatch.setenv("HF_ENDPOINT", f"http://127.0.0.1:{unused.getsockname()[1]}")
        assert_refused(("pull", REPO), 6, "the Hub does not answer; tried 5 times; nothing of it is in the cache")
    assert hub.waits == [1.0, 2.0, 4.0, 8.0]


@pytest.mark.usefixtures("repo")
def test_a_slow_answer_is_not_waited_for_without_end(hub: StandInHub, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(constants, "HF_HUB_DOWNLOAD_TIMEOUT", 0.05)
    hub.fail(ASK, times=99, delay=1.0)
    assert_refused(("pull", REPO), 6, "the Hub did not answer in time; tried 5 times")


@pytest.mark.parametrize("reset", [False, True])
def test_a_download_that_breaks_off_is_resumed(
    hub: StandInHub, repo: Repo, monkeypatch: pytest.MonkeyPatch, reset: bool
) -> None:
    monkeypatch.setattr("huggingface_hub.file_download.time", SimpleNamespace(sleep=lambda _: None))
    monkeypatch.setattr(constants, "DOWNLOAD_CHUNK_SIZE", 16)
    hub.fail(DOWNLOAD, times=2, drop_after=40, reset=reset)
    pulled(REPO)
    adapter = Store.default().resolve(LOCAL)
    assert adapter.files[TENSORS_FILE].read_bytes() == repo.commits[repo.branches["main"]][TENSORS_FILE]
    assert hub.sent(DOWNLOAD) == 40 + 40 + 128 - 64  # whole chunks of what came are kept


@pytest.mark.usefixtures("repo")
def test_a_download_that_always_breaks_off_is_given_up(hub: StandInHub, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("huggingface_hub.file_download.time", SimpleNamespace(sleep=lambda _: None))
    hub.fail(DOWNLOAD, times=99, drop_after=0)
    assert_refused(("pull", REPO), 6, "the Hub broke off a download again and again")


@pytest.mark.usefixtures("repo")
def test_wrong_bytes_are_fetched_again_and_refused_when_they_stay_wrong(hub: StandInHub) -> None:
    hub.fail(DOWNLOAD, spoil=True)
    pulled(REPO)
    assert hub.count(DOWNLOAD) == 2
    hub.repos[REPO].commit({"adapter_model.safetensors": b"x" * 100})
    hub.fail(DOWNLOAD, times=2, spoil=True)
    assert_refused(("pull", REPO, "--name", "again"), 7, "came with other bytes than the Hub lists")


def test_nobody_pushes_without_a_login(hub: StandInHub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("HF_TOKEN")
    words = ("push", published(tmp_path), REPO, "--base-model", "org/base")
    assert_refused(words, 5, "not logged in to the Hub; run `hf auth login`")
    assert hub.requests == []


def test_a_token_that_is_no_longer_good(hub: StandInHub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_TOKEN", "hf_old_secret")
    assert_refused(("pull", REPO), 5, "the Hub does not accept your token; run `hf auth login` again")


def test_nobody_pushes_to_anothers_repo(hub: StandInHub, tmp_path: Path) -> None:
    hub.add("bob/his", {"a": b""})
    words = ("push", published(tmp_path), "bob/his", "--base-model", "org/base")
    assert_refused(words, 5, "bob/his", "your account may not do this", "rights to write to this repo")
    words = ("push", published(tmp_path), "bob/new", "--base-model", "org/base")
    assert_refused(words, 5, "rights to create a model under the namespace bob")
    assert list(hub.repos) == ["bob/his"]


@pytest.mark.parametrize("login", [True, False])
def test_a_gated_repo_says_where_to_ask(
    hub: StandInHub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, login: bool
) -> None:
    hub.add("bob/gated", files_of(tmp_path / "made"), gated=True)
    if not login:
        monkeypatch.delenv("HF_TOKEN")
    told = assert_refused(("pull", "bob/gated"), 5, "gated; ask for access on the repo's page on the Hub")
    assert ("you are not logged in" in told) == (not login)


@pytest.mark.parametrize("login", [True, False])
@pytest.mark.parametrize("repo", ["bob/private", "bob/none"])
def test_no_such_repo_or_not_yours_to_see(
    hub: StandInHub, monkeypatch: pytest.MonkeyPatch, repo: str, login: bool
) -> None:
    hub.add("bob/private", {}, private=True)
    if not login:
        monkeypatch.delenv("HF_TOKEN")
    told = assert_refused(("pull", repo), 3, f"{repo}: no such repo on the Hub, or it is private and not yours to see")
    assert ("you are not logged in" in told) == (not login)


@pytest.mark.usefixtures("repo")
@pytest.mark.parametrize("revision", ["v9", "0" * 40])
def test_no_such_revision(revision: str) -> None:
    assert_refused(("pull", f"hf:{REPO}:{revision}"), 3, f"{REPO}: the Hub has no revision '{revision}' of it")


def test_a_repo_without_an_adapter(hub: StandInHub) -> None:
    hub.add(REPO, {"model.safetensors": b"", "README.md": b""})
    assert_refused(("pull", REPO), 7, f"hf:{REPO}@", "not an adapter (no adapter_config.json)")


@pytest.mark.parametrize("status", [400, 418])
def test_any_other_refusal_is_told_in_the_hubs_words(hub: StandInHub, status: int) -> None:
    hub.fail(ASK, status=status, text='{"error": "no, by hf_alice_secret and hf_abcdefghij\\nmore"}')
    told = assert_refused(("pull", REPO), 1, f"the Hub refused ({status}): no, by <token> and <token>\n")
    assert "more" not in told


def test_what_is_no_hub_is_told(hub: StandInHub) -> None:
    hub.fail(ASK, status=200, text="<html>Log in to this network</html>")
    assert_refused(("pull", REPO), 6, "what answers does not speak as the Hub does; is HF_ENDPOINT right?")


@pytest.mark.parametrize("words", [("pull", "hf:one"), ("pull", "a/b:../c"), ("push", "mine", "a/../b")])
def test_what_is_no_repo_is_refused_before_the_hub_is_asked(hub: StandInHub, words: tuple[str, ...]) -> None:
    assert_refused(words, 2, "is not an adapter reference")
    assert hub.requests == []


def test_the_login_the_endpoint_and_the_cache_are_those_of_huggingface_hub(
    hub: StandInHub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("HF_TOKEN")
    home = tmp_path / "home"
    home.mkdir()
    (home / "token").write_text("hf_bob_secret")
    hub.add("bob/private", {"README.md": b"# here\n"}, private=True)
    words: Any = ("push", published(tmp_path), "bob/private", "--base-model", "org/base", "--dry-run")
    program = [sys.executable, "-c", WITHOUT_TORCH, *words]
    done = subprocess.run(program, env=os.environ | {"HF_HOME": str(home)}, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "# here" in done.stdout
    assert "secret" not in done.stdout + done.stderr
    assert list(home.rglob("README.md"))


WITHOUT_TORCH = """
import sys
from adapterhub.cli.main import cli
cli(standalone_mode=False)
assert "torch" not in sys.modules
"""
