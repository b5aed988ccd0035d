"""Pushing to the Hub: one commit on the one that was looked at, or none; nothing of another's is lost."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import Result
from conftest import save_stub_adapter
from huggingface_hub import constants
from stand_in_hub import StandInHub
from test_cli import run
from test_hub_pull import files_of

from adapterhub.adapter import CARD_FILE, CONFIG_FILE, PROVENANCE_FILE, TENSORS_FILE
from adapterhub.base_name import BUILT_IN
from adapterhub.store import Store

REPO = "alice/Digits"
BASE = ("--base-model", "org/base")
COMMIT = f"POST /api/models/{REPO}/commit"


@pytest.fixture
def mine(tmp_path: Path) -> str:
    """An adapter of the store."""
    files_of(tmp_path / "made")
    return Store.default().publish(tmp_path / "made", "mine").label


def pushed(*words: str) -> Result:
    done = run("push", "mine", REPO, *BASE, *words)
    assert done.exit_code == 0, done.output
    return done


def refused(code: int, told: str, *words: str) -> None:
    done = run("push", "mine", REPO, *words)
    assert (done.exit_code, told in done.stderr) == (code, True), done.output


@pytest.mark.usefixtures("mine")
def test_a_push_is_one_commit_of_the_stores_bytes_and_a_card(hub: StandInHub) -> None:
    done = json.loads(pushed("--private", "--tag", "v1", "--json").stdout)
    repo = hub.repos[REPO]
    files = repo.commits[repo.branches["main"]]
    stored = Store.default().resolve("mine").files
    assert {name: files[name] for name in stored} == {name: path.read_bytes() for name, path in stored.items()}
    assert files[CARD_FILE].decode() == done["card"]
    assert (repo.private, repo.tags, len(repo.commits)) == (True, {"v1": done["commit"]}, 2)
    assert done["commit"] == repo.branches["main"]
    move = Store.default().history("mine")[-1]
    assert (move.action, move.source, move.commit) == ("push", f"hf:{REPO}:main", done["commit"])


@pytest.mark.usefixtures("mine", "hub")
def test_what_is_pulled_has_the_digest_that_the_push_told() -> None:
    ref = pushed("-q").stdout.strip()
    done = run("pull", ref, "--name", "again")
    assert done.exit_code == 0, done.output
    assert done.stdout == f"again:latest@{ref.partition('@')[2]}\n"


@pytest.mark.usefixtures("mine")
def test_pushing_again_makes_no_commit(hub: StandInHub) -> None:
    first = json.loads(pushed("--json").stdout)
    done = pushed("--tag", "later")
    assert "nothing to push, it is there" in done.stderr
    assert hub.count(COMMIT) == 1
    assert hub.repos[REPO].tags == {"later": first["commit"]}


@pytest.mark.usefixtures("mine")
def test_a_dry_run_shows_all_and_touches_nothing(hub: StandInHub) -> None:
    repo = hub.add(REPO, {CARD_FILE: b"# By hand\n", "adapter_config.json": b"{}", "adapterhub.json": b"{}"})
    before = list(repo.commits)
    shown = pushed("--dry-run").stdout
    for text in (f"{REPO} main, on commit {before[0]}", "changed", "new", "# By hand", "+base_model: org/base"):
        assert text in shown
    assert list(repo.commits) == before
    assert hub.count("POST") == 0
    assert len(Store.default().history("mine")) == 1


def test_a_dry_run_of_a_new_repo_needs_no_login(hub: StandInHub, mine: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("HF_TOKEN")
    assert f"{REPO} main, a new repo" in pushed("--dry-run").stdout
    assert hub.repos == {}


@pytest.mark.usefixtures("mine")
def test_what_the_adapter_no_longer_has_leaves_the_repo(hub: StandInHub, tmp_path: Path) -> None:
    pushed()
    (tmp_path / "made" / PROVENANCE_FILE).unlink()
    Store.default().publish(tmp_path / "made", "mine")
    changes = {file["name"]: file["change"] for file in json.loads(pushed("--json").stdout)["files"]}
    assert changes == {CONFIG_FILE: "same", TENSORS_FILE: "same", CARD_FILE: "changed", PROVENANCE_FILE: "removed"}
    assert PROVENANCE_FILE not in hub.repos[REPO].commits[hub.repos[REPO].branches["main"]]


@pytest.mark.usefixtures("mine")
def test_a_branch_is_made_from_main_where_it_is_missing(hub: StandInHub) -> None:
    repo = hub.add(REPO, {CARD_FILE: b"# By hand\n"})
    main = repo.branches["main"]
    assert 'revision="next"' in json.loads(pushed("--revision", "next", "--json").stdout)["card"]
    assert repo.branches["main"] == main
    assert repo.commits[repo.branches["next"]][CARD_FILE].endswith(b"<!-- adapterhub:end -->\n")


@pytest.mark.usefixtures("mine")
def test_somebody_elses_commit_meanwhile_is_kept(hub: StandInHub) -> None:
    repo = hub.add(REPO, {"a": b"1"})
    hub.fail(COMMIT, meanwhile=lambda: repo.commit({"a": b"2"}))
    refused(4, f"{REPO}: somebody else committed to main meanwhile", *BASE)
    assert repo.commits[repo.branches["main"]] == {"a": b"2"}
    assert [move.action for move in Store.default().history("mine")] == ["publish"]
    pushed()


@pytest.mark.usefixtures("mine")
def test_a_card_of_a_repo_that_is_made_meanwhile_is_kept(hub: StandInHub) -> None:
    hub.fail("repos/create", meanwhile=lambda: hub.add(REPO, {CARD_FILE: b"# By another hand\n"}))
    pushed()
    assert b"# By another hand\n" in hub.repos[REPO].commits[hub.repos[REPO].branches["main"]][CARD_FILE]


@pytest.mark.usefixtures("mine")
def test_a_commit_whose_answer_was_lost_has_arrived_once(hub: StandInHub) -> None:
    hub.fail(COMMIT, times=1, lost=True)
    done = json.loads(pushed("--json").stdout)
    repo = hub.repos[REPO]
    assert hub.count(COMMIT) == 2  # the second is refused: its parent is no longer the head
    assert (done["commit"], len(repo.commits)) == (repo.branches["main"], 2)


@pytest.mark.usefixtures("mine")
def test_a_commit_that_never_arrives_is_told(hub: StandInHub) -> None:
    hub.fail(COMMIT, times=99, status=503)
    refused(6, "the Hub answers 503; tried 5 times", *BASE)
    assert len(hub.repos[REPO].commits) == 1


@pytest.mark.usefixtures("mine")
def test_a_tag_is_never_moved(hub: StandInHub) -> None:
    repo = hub.add(REPO, {"a": b"1"})
    repo.tags["v1"] = repo.branches["main"]
    refused(4, "tag 'v1' is commit", *BASE, "--tag", "v1")
    assert hub.count("POST") == 0


@pytest.mark.usefixtures("mine")
def test_what_should_be_private_is_not_pushed_to_a_public_repo(hub: StandInHub) -> None:
    hub.add(REPO, {"a": b"1"})
    refused(4, "it is public already", *BASE, "--private")
    assert hub.count("POST") == 0


@pytest.mark.usefixtures("mine")
def test_a_base_without_an_id_on_the_hub_is_asked_for(hub: StandInHub) -> None:
    refused(2, "'stub-base', as it is recorded, is none; give --base-model org/name")
    assert hub.requests == []


@pytest.mark.usefixtures("hub")
def test_the_built_in_base_has_an_id_on_the_hub(tmp_path: Path) -> None:
    made = save_stub_adapter(tmp_path / "made")
    record = json.loads((made / PROVENANCE_FILE).read_text())
    record["base"]["id"] = BUILT_IN
    (made / PROVENANCE_FILE).write_text(json.dumps(record))
    Store.default().publish(made, "mine")
    card = json.loads(run("push", "mine", REPO, "--dry-run", "--json").stdout)["card"]
    assert "base_model: HuggingFaceTB/SmolLM2-135M-Instruct\n" in card
    assert f"adapterhub serve --base {BUILT_IN}\n" in card


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (("--base-model", "base"), "base_model: 'base' is no id of the Hub"),
        (("--dataset", "/tmp/data"), "dataset: '/tmp/data' is no id of the Hub"),
        (("--license", "My: licence"), "license: 'My: licence' is not one by the Hub's names"),
        (("--revision", "0" * 40), "is not for a push"),
        (("--tag", "refs/pr/1"), "is not for a push"),
        (("--tag", "a b"), "is not an adapter reference"),
    ],
)
def test_a_wrong_option_is_named_before_the_hub_is_asked(
    hub: StandInHub, mine: str, words: tuple[str, ...], told: str
) -> None:
    refused(2, told, *words)
    assert hub.requests == []


@pytest.mark.usefixtures("mine")
def test_offline_nothing_is_pushed(hub: StandInHub, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    refused(6, "offline, as HF_HUB_OFFLINE says", *BASE)
    assert hub.requests == []


@pytest.mark.usefixtures("mine")
@pytest.mark.parametrize(
    ("present", "told"),
    [
        (b"---\na: [1\n---\n", "the metadata of its README.md cannot be read"),
        (b"---\n- a\n---\n", "the metadata of its README.md cannot be read"),
        (b"\xff\xfe", "its README.md is not UTF-8"),
        (b"<!-- adapterhub:begin -->\n", "not once each, in this order"),
        (b"<!-- adapterhub:end --> <!-- adapterhub:begin -->", "not once each, in this order"),
    ],
)
def test_a_card_that_cannot_be_read_is_not_written_over(hub: StandInHub, present: bytes, told: str) -> None:
    hub.add(REPO, {CARD_FILE: present})
    refused(4, told, *BASE)
    assert hub.count("POST") == 0


@pytest.mark.usefixtures("mine")
def test_a_card_that_the_hub_does_not_take_is_told_in_its_words(hub: StandInHub) -> None:
    hub.fail("validate-yaml", status=400, text='{"errors": [{"message": "license: not known"}]}')
    refused(2, "the Hub does not take the card: Invalid metadata in README.md. - license: not known", *BASE)
    assert hub.count(COMMIT) == 0


def outdated(*words: str) -> tuple[int, dict[str, str]]:
    done = run("outdated", "--json", *words)
    return done.exit_code, {each["ref"]: each["state"] for each in json.loads(done.stdout)}


@pytest.mark.usefixtures("mine")
def test_outdated_tells_what_the_hub_has_newer_ones_of(hub: StandInHub, tmp_path: Path) -> None:
    assert outdated() == (0, {})
    pushed()
    assert run("pull", REPO, "--name", "copy").exit_code == 0
    assert outdated() == (0, {"copy:latest": "up to date", "mine:latest": "up to date"})
    hub.repos[REPO].commit({"a": b"1"})
    assert outdated() == (1, {"copy:latest": "behind", "mine:latest": "behind"})
    assert run("outdated", "-q").stdout == "copy:latest\nmine:latest\n"
    Store.default().publish(save_stub_adapter(tmp_path / "new", value=9), "copy")
    assert outdated()[1]["copy:latest"] == "changed here"
    assert "alice/Digits" in run("outdated").stdout
    del hub.repos[REPO]
    assert outdated() == (1, {"copy:latest": "gone", "mine:latest": "gone"})


@pytest.mark.usefixtures("mine")
def test_outdated_asks_a_hub_that_is_down_once(hub: StandInHub, monkeypatch: pytest.MonkeyPatch) -> None:
    pushed()
    assert run("pull", REPO, "--name", "copy").exit_code == 0
    assert run("push", "mine", "alice/other", *BASE).exit_code == 0
    hub.requests.clear()
    hub.fail(".", times=99, status=503)
    assert outdated() == (6, {"copy:latest": "unreachable", "mine:latest": "unreachable"})
    assert len(hub.requests) == 5
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    assert outdated()[0] == 6
    assert len(hub.requests) == 5
