"""The store's verbs: what they print, what they ask, and how they end."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from conftest import save_stub_adapter

from adapterhub.adapter import CONFIG_FILE, PROVENANCE_FILE, TENSORS_FILE
from adapterhub.cli.main import cli
from adapterhub.store import AdapterRef, Store


def run(*words: str) -> Result:
    return CliRunner().invoke(cli, words)


def lines(*words: str) -> list[str]:
    done = run(*words)
    assert done.exit_code == 0, done.stderr
    return done.stdout.splitlines()


@pytest.fixture
def store() -> Store:
    return Store.default()


@pytest.fixture
def versions(store: Store, tmp_path: Path) -> list[AdapterRef]:
    """What `team/digits` held."""
    return [store.publish(save_stub_adapter(tmp_path / str(n), value=n), "team/digits") for n in range(2)]


@pytest.fixture
def theirs(store: Store, tmp_path: Path) -> AdapterRef:
    """`theirs:v1`, of another method and base."""
    folder = save_stub_adapter(tmp_path / "theirs")
    (folder / PROVENANCE_FILE).unlink()
    (folder / CONFIG_FILE).write_text(json.dumps({"peft_type": "IA3", "base_model_name_or_path": "some/base"}))
    return store.publish(folder, "theirs:v1")


@pytest.mark.usefixtures("versions", "theirs")
@pytest.mark.parametrize(
    ("words", "found"),
    [
        ((), ["theirs:v1", "team/digits:latest"]),
        (("team/*",), ["team/digits:latest"]),
        (("theirs",), ["theirs:v1"]),
        (("--method", "lora"), ["team/digits:latest"]),
        (("--base", "some/*"), ["theirs:v1"]),
        (("--base", f"sha256:{'0' * 64}"), ["team/digits:latest"]),
        (("--tag", "v?"), ["theirs:v1"]),
        (("--tag", "v?", "--method", "lora"), []),
    ],
)
def test_ls_filters(words: tuple[str, ...], found: list[str]) -> None:
    assert sorted(lines("ls", "-q", *words)) == sorted(found)
    assert sorted(each["ref"] for each in json.loads(run("ls", "--json", *words).stdout)) == sorted(found)


@pytest.mark.usefixtures("versions")
def test_ls_says_that_nothing_fits() -> None:
    assert run("ls", "other").stderr.startswith("no such adapters in")


def test_tag_prints_the_pinned_reference(versions: list[AdapterRef], store: Store) -> None:
    assert lines("tag", "team/digits", "digits:best") == [f"digits:best@{versions[1].digest}"]
    assert lines("tag", str(versions[0]), "digits:best", "-q") == ["digits:best"]
    assert store.pin("digits:best").digest == versions[0].digest


def test_rollback_moves_the_tag_and_lists_what_it_held(versions: list[AdapterRef], store: Store) -> None:
    assert lines("rollback", "team/digits") == [str(versions[0])]
    assert lines("rollback", "team/digits", "--to", versions[1].digest[7:15]) == [str(versions[1])]
    assert lines("rollback", "team/digits", "--list", "-q") == [ref.digest for ref in versions]
    header, *moves = lines("rollback", "team/digits", "--list")
    assert header.split() == ["AT", "ACTION", "DIGEST", "SOURCE", "COMMIT"]
    assert [move.split()[1] for move in moves] == ["publish", "publish", "rollback", "rollback"]
    assert json.loads(run("rollback", "team/digits", "--list", "--json").stdout)[0]["digest"] == versions[0].digest


def test_rollback_to_nothing_ends_with_3(store: Store, theirs: AdapterRef) -> None:
    done = run("rollback", "theirs:v1")
    assert (done.exit_code, done.stdout) == (3, "")
    assert done.stderr == "error: theirs:v1: held nothing before\n"


def test_rm_removes_what_is_named(versions: list[AdapterRef], store: Store) -> None:
    assert lines("rm", "team/digits", "--yes") == [f"removed {versions[1]}"]
    assert list(store.labels()) == []
    assert run("rm", "team/digits", "--yes").exit_code == 3


def test_rm_of_a_name_takes_one_tag_unless_all_are_asked_for(versions: list[AdapterRef], store: Store) -> None:
    store.tag("team/digits", "team/digits:v1")
    store.tag("team/digits", "team/digits:v2")
    assert lines("rm", "team/digits", "-y", "-q") == ["team/digits:latest"]
    assert lines("rm", "team/digits", "--all-tags", "-y", "-q") == ["team/digits:v1", "team/digits:v2"]


@pytest.mark.parametrize("words", [("rm", "team/digits"), ("gc", "--grace", "0", "--keep-history", "0")])
def test_what_destroys_needs_a_terminal_or_yes(
    versions: list[AdapterRef], store: Store, words: tuple[str, ...]
) -> None:
    done = run(*words)
    assert done.exit_code == 2
    assert "--yes does it without asking" in done.stderr
    assert store.pin("team/digits") == versions[1]
    assert store.rollback("team/digits") == versions[0]


@pytest.mark.parametrize(("answer", "code"), [(b"n\n", 1), (b"y\n", 0)])
def test_on_a_terminal_rm_asks(versions: list[AdapterRef], store: Store, answer: bytes, code: int) -> None:
    ours, terminal = os.openpty()
    os.write(ours, answer)
    words = [sys.executable, "-m", "adapterhub", "rm", "team/digits"]
    done = subprocess.run(words, stdin=terminal, capture_output=True, text=True, check=False)
    os.close(ours)
    os.close(terminal)
    assert done.returncode == code
    assert done.stderr.startswith("Remove team/digits:latest? [y/N]: ")
    assert bool(list(store.labels())) == (code != 0)


def test_gc_tells_what_it_would_remove_and_removes_it(versions: list[AdapterRef], store: Store) -> None:
    words = ("gc", "--grace", "0", "--keep-history", "0")
    assert lines(*words, "--dry-run") == ["would remove 2 files, 513 bytes; 4 files stay"]
    assert lines(*words, "--yes") == ["removed 2 files, 513 bytes; 4 files stay"]
    assert json.loads(run(*words, "--json").stdout) == {
        "blobs": 0,
        "nbytes": 0,
        "temporary": 0,
        "kept": 4,
        "dry_run": False,
    }


@pytest.mark.parametrize("time", ["1", "h", "1w", "-1s", "1.5h"])
def test_what_is_no_length_of_time_ends_with_2(time: str) -> None:
    done = run("gc", "--grace", time)
    assert done.exit_code == 2
    assert "accepted: such as 90s, 5m, 1h, 30d, or 0" in done.stderr


def test_verify_says_what_it_read(versions: list[AdapterRef]) -> None:
    done = run("verify", "--reindex")
    assert (done.exit_code, done.stdout) == (0, "")
    assert done.stderr.startswith("6 files, ")
    assert done.stderr.endswith("0 damaged\n1 adapters indexed\n")


def test_verify_names_what_is_damaged_and_ends_with_7(versions: list[AdapterRef], store: Store) -> None:
    path = store.resolve("team/digits").files[TENSORS_FILE]
    path.chmod(0o644)
    path.write_bytes(b"")
    done = run("verify", "--json")
    assert done.exit_code == 7
    (damage,) = json.loads(done.stdout)["damaged"]
    assert (damage["what"], damage["refs"]) == (f"sha256:{path.name}", ["team/digits:latest"])
    done = run("verify")
    assert done.exit_code == 7
    assert f"{path}: missing; needed by team/digits:latest" in done.stdout
    assert done.stderr.endswith("1 damaged or missing\n")
