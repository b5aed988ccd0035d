"""Pulling from the Hub: one commit, the files of an adapter alone, out of the cache when the Hub is not there."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import Result
from conftest import save_stub_adapter
from huggingface_hub import constants
from stand_in_hub import StandInHub
from stand_in_repo import Repo
from test_cli import run

from adapterhub.adapter import CONFIG_FILE, PROVENANCE_FILE, TENSORS_FILE
from adapterhub.store import Store

REPO = "alice/Digits-LoRA"
LOCAL = "alice/digits-lora:latest"


def files_of(folder: Path, *, value: float = 1.0) -> dict[str, bytes]:
    """An adapter that the border lets in, as files."""
    save_stub_adapter(folder, value=value)
    options = {"peft_type": "LORA", "r": 2, "lora_alpha": 4, "target_modules": ["layer"]}
    (folder / CONFIG_FILE).write_text(json.dumps(options))
    return {path.name: path.read_bytes() for path in folder.iterdir()}


@pytest.fixture
def repo(hub: StandInHub, tmp_path: Path) -> Repo:
    """`alice/Digits-LoRA`: an adapter, and files that are none of its."""
    files = files_of(tmp_path / "made")
    return hub.add(REPO, {**files, "README.md": b"# Digits\n", "evil.py": b"1/0", "training_args.bin": b"\x80"})


def pulled(*words: str) -> Result:
    done = run("pull", *words)
    assert done.exit_code == 0, done.output
    return done


def change(repo: Repo, tmp_path: Path, value: float = 2.0) -> str:
    return repo.commit(files_of(tmp_path / f"changed-{value}", value=value))


def test_a_pull_publishes_the_adapters_files_alone_and_records_their_commit(hub: StandInHub, repo: Repo) -> None:
    done = json.loads(pulled(f"hf:{REPO}", "--json").stdout)
    adapter = Store.default().resolve(LOCAL)
    assert {name: path.read_bytes() for name, path in adapter.files.items()} == {
        name: repo.commits[repo.branches["main"]][name]
        for name in (CONFIG_FILE, PROVENANCE_FILE, TENSORS_FILE, "README.md")
    }
    assert (done["ref"], done["digest"], done["commit"]) == (LOCAL, adapter.digest, repo.branches["main"])
    assert hub.count("evil.py|training_args") == 0
    (move,) = Store.default().history(LOCAL)
    assert (move.action, move.source, move.commit) == ("pull", f"hf:{REPO}:main", repo.branches["main"])


def test_all_is_of_one_commit_also_when_the_branch_moves_meanwhile(hub: StandInHub, repo: Repo, tmp_path: Path) -> None:
    first = repo.branches["main"]
    hub.fail(f"GET /{REPO}/resolve/.*/{CONFIG_FILE}", meanwhile=lambda: change(repo, tmp_path))
    assert json.loads(pulled(REPO, "--json").stdout)["commit"] == first
    assert repo.branches["main"] != first
    tensors = Store.default().resolve(LOCAL).files[TENSORS_FILE].read_bytes()
    assert tensors == repo.commits[first][TENSORS_FILE]


@pytest.mark.parametrize(
    ("revision", "tag"), [("v1.0", "v1.0"), ("Next/One", "next-one"), ("commit", "commit"), ("main", "latest")]
)
def test_the_revision_is_the_local_tag(repo: Repo, revision: str, tag: str) -> None:
    repo.tags["v1.0"] = repo.branches["Next/One"] = repo.branches["main"]
    commit = repo.branches["main"]
    asked, tag = (commit, commit[:12]) if revision == "commit" else (revision, tag)
    assert pulled(f"hf:{REPO}:{asked}", "-q").stdout.startswith(f"alice/digits-lora:{tag}@sha256:")


def test_a_name_may_be_given(repo: Repo) -> None:
    assert pulled(f"hf:{REPO}", "--name", "mine:v1").stdout.startswith("mine:v1@sha256:")


@pytest.mark.usefixtures("repo")
def test_a_digest_is_held_and_other_content_refused() -> None:
    digest = json.loads(pulled(f"hf:{REPO}", "--json").stdout)["digest"]
    assert pulled(f"hf:{REPO}@{digest}", "--name", "again").stdout == f"again:latest@{digest}\n"
    done = run("pull", f"hf:{REPO}@sha256:{'0' * 64}", "--name", "wrong")
    assert (done.exit_code, f"is {digest}, not sha256:000" in done.stderr) == (7, True), done.stderr
    assert [ref.label for ref in Store.default().labels()] == ["again:latest", LOCAL]


def test_pulling_again_follows_the_repo(repo: Repo, tmp_path: Path) -> None:
    before = Store.default().resolve(json.loads(pulled(REPO, "--json").stdout)["ref"]).digest
    change(repo, tmp_path)
    assert json.loads(pulled(REPO, "--json").stdout)["digest"] != before


def test_a_name_that_holds_something_else_is_kept(repo: Repo, tmp_path: Path) -> None:
    own = Store.default().publish(save_stub_adapter(tmp_path / "own", value=7), "alice/digits-lora")
    done = run("pull", REPO)
    assert done.exit_code == 4
    assert f"{LOCAL} holds {own.digest}, which came from this machine; give another name by --name" in done.stderr
    assert Store.default().pin(LOCAL).digest == own.digest


def test_an_adapter_in_a_subfolder(hub: StandInHub, tmp_path: Path) -> None:
    made = files_of(tmp_path / "made")
    hub.add(REPO, {"README.md": b"two", **{f"second/deep/{name}": content for name, content in made.items()}})
    pulled(REPO, "--subfolder", "second/deep")
    assert Store.default().resolve(LOCAL).files[TENSORS_FILE].read_bytes() == made[TENSORS_FILE]
    done = run("pull", REPO)
    assert (done.exit_code, "--subfolder chooses one of its folders: second" in done.stderr) == (7, True)
    done = run("pull", REPO, "--subfolder", "third")
    assert (done.exit_code, "no folder 'third'" in done.stderr) == (3, True), done.stderr


@pytest.mark.parametrize("subfolder", ["../x", "/etc", "a//b", "."])
def test_a_subfolder_is_a_path_of_plain_names(hub: StandInHub, subfolder: str) -> None:
    assert run("pull", REPO, "--subfolder", subfolder).exit_code == 2
    assert hub.requests == []


def test_what_is_too_long_is_not_fetched(hub: StandInHub, repo: Repo) -> None:
    done = run("pull", REPO, "--max-size", "50B")
    assert (done.exit_code, "accepted are up to 50" in done.stderr) == (7, True), done.stderr
    repo.commit({"README.md": b" " * (1 << 20) + b" "})
    assert "README.md has 1048577 bytes" in run("pull", REPO).stderr
    assert hub.count("resolve") == 0


def test_without_the_hub_a_commit_comes_out_of_the_cache(
    hub: StandInHub, repo: Repo, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = json.loads(pulled(REPO, "--json").stdout)
    change(repo, tmp_path)
    asked = len(hub.requests)
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    done = json.loads(pulled(REPO, "--name", "again", "--json").stdout)
    assert (done["digest"], done["commit"]) == (first["digest"], first["commit"])
    assert done["cached"] == "HF_HUB_OFFLINE is set"
    assert len(hub.requests) == asked


def test_a_hub_that_is_down_is_told_with_the_commit_that_was_used(hub: StandInHub, repo: Repo) -> None:
    pulled(REPO)
    hub.fail(".", times=99, status=503)
    done = pulled(REPO, "--name", "again")
    assert f"warning: {REPO}@main: the Hub answers 503; tried 5 times; out of the cache\n" in done.stderr
    assert f"hf:{REPO}:main at commit {repo.branches['main']}" in done.stderr


def test_what_is_not_all_in_the_cache_is_not_made_up(hub: StandInHub, repo: Repo) -> None:
    done = run("pull", REPO, "--max-size", "50B")  # its commit is known now, and no file
    hub.fail(".", times=99, status=503)
    done = run("pull", REPO)
    assert done.exit_code == 6
    assert f"commit {repo.branches['main']} is not all in the cache" in done.stderr


def test_a_damaged_cache_is_mended_with_the_hub_and_refused_without(
    repo: Repo, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    digest = json.loads(pulled(REPO, "--json").stdout)["digest"]
    (cached,) = (tmp_path / "hf").rglob(f"snapshots/{repo.branches['main']}/{TENSORS_FILE}")
    content = bytearray(cached.read_bytes())
    content[-1] ^= 1
    cached.resolve().write_bytes(content)
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    done = run("pull", REPO, "--name", "again")
    assert (done.exit_code, "in the cache was altered" in done.stderr) == (7, True), done.stderr
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    assert json.loads(pulled(REPO, "--name", "again", "--json").stdout)["digest"] == digest


FETCH = """
import sys
from pathlib import Path
from adapterhub.hub import remote
from adapterhub.hub.client import hub_client
repo, into = sys.argv[1], Path(sys.argv[2])
with hub_client():
    commit = remote.resolve(repo, "main")
    remote.fetch(repo, commit, remote.list_folder(repo, commit), into)
"""


def test_pulls_at_once_fetch_once(hub: StandInHub, repo: Repo, tmp_path: Path) -> None:
    hub.fail(f"GET /{REPO}/resolve/.*{TENSORS_FILE}", delay=1.5)
    environment = os.environ | {"HF_HOME": str(tmp_path / "home")}
    folders = [tmp_path / f"process-{number}" for number in range(3)]
    running = []
    for folder in folders:
        folder.mkdir()
        running.append(subprocess.Popen([sys.executable, "-c", FETCH, REPO, str(folder)], env=environment))
    assert [process.wait() for process in running] == [0, 0, 0]
    content = repo.commits[repo.branches["main"]][TENSORS_FILE]
    assert [(folder / TENSORS_FILE).read_bytes() for folder in folders] == [content] * 3
    assert hub.count(f"GET /{REPO}/resolve/.*{TENSORS_FILE}") == 1


@pytest.mark.usefixtures("repo")
@pytest.mark.parametrize("name", ["hf:a/b", f"mine@sha256:{'0' * 64}", "../x"])
def test_a_name_is_one_of_the_store(hub: StandInHub, name: str) -> None:
    assert run("pull", REPO, "--name", name).exit_code == 2
    assert hub.requests == []


@pytest.mark.usefixtures("repo")
def test_a_store_that_cannot_be_written_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "a-file").touch()
    monkeypatch.setenv("ADAPTERHUB_STORE", str(tmp_path / "a-file" / "store"))
    done = run("pull", REPO)
    assert (done.exit_code, f"error: {tmp_path}/a-file" in done.stderr) == (6, True), done.output


def test_a_tokenizer_beside_it_is_told_and_not_fetched(hub: StandInHub, repo: Repo) -> None:
    repo.commit({"tokenizer.json": b"{}", "chat_template.jinja": b"x"})
    told = pulled(REPO).stderr
    assert f"warning: hf:{REPO}/tokenizer.json is not used, the base's is\n" in told
    assert "chat_template.jinja is not used" in told
    assert hub.count("resolve/.*(tokenizer|template)") == 0


def test_weights_that_are_pickled_are_named(hub: StandInHub) -> None:
    hub.add(REPO, {CONFIG_FILE: b'{"peft_type": "LORA"}', "adapter_model.bin": b"\x80"})
    done = run("pull", REPO)
    assert (done.exit_code, "adapter_model.bin is pickled, which is never loaded" in done.stderr) == (7, True)


def test_what_the_border_refuses_is_named_by_its_repo(hub: StandInHub, repo: Repo) -> None:
    commit = repo.commit({CONFIG_FILE: b'{"peft_type": "SOLAR"}'})
    done = run("pull", REPO)
    assert done.exit_code == 7
    assert f"hf:{REPO}@{commit}" in done.stderr
    assert "no installed method serves peft_type 'SOLAR'" in done.stderr
    assert "/came" not in done.stderr
    assert list(Store.default().labels()) == []
