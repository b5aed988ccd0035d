"""The verbs diff, merge and export: what they print, how they end, and what they leave behind."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from peft import PeftModel
from published import publish_random
from transformers import AutoModelForCausalLM

from adapterhub.adapter import TENSORS_FILE
from adapterhub.cli.main import cli
from adapterhub.store import Store


def run(*words: str) -> Result:
    return CliRunner().invoke(cli, words)


@pytest.fixture
def pair(tiny_base: Path, tmp_path: Path) -> tuple[str, str]:
    """The digests of `team/a` and `team/b`, of rank 4 and 6."""
    a = publish_random(tiny_base, "team/a", tmp_path / "a", r=4, target_modules=["q_proj"])
    b = publish_random(tiny_base, "team/b", tmp_path / "b", seed=1, r=6, target_modules=["q_proj", "v_proj"])
    return a.digest, b.digest


@pytest.mark.usefixtures("pair")
def test_diff_tells_config_files_and_norms_and_ends_with_1() -> None:
    done = run("diff", "team/a", "team/b")
    assert done.exit_code == 1
    heads = [line.split()[0] for line in done.stdout.split("\n") if line[:1].isupper()]
    assert heads == ["CONFIG", "FILES", "SITE"]
    assert "r               4" in done.stdout
    assert "model.layers.0.self_attn.v_proj  update  0" in done.stdout
    assert json.loads(run("diff", "team/a", "team/b", "--json").stdout)["sites"][0]["of"] == "update"


@pytest.mark.usefixtures("pair")
def test_diff_of_the_same_prints_nothing_on_stdout_and_ends_with_0() -> None:
    done = run("diff", "team/a", "team/a:latest")
    assert (done.exit_code, done.stdout, done.stderr) == (0, "", "equal\n")
    assert json.loads(run("diff", "team/a", "team/a", "--json").stdout)["equal"] is True


@pytest.mark.usefixtures("pair")
def test_diff_of_what_is_not_there_ends_with_3() -> None:
    assert run("diff", "team/a", "team/c").exit_code == 3


def test_diff_shows_the_most_changed_sites_and_counts_the_rest(tiny_base: Path, tmp_path: Path) -> None:
    for seed, name in enumerate(("a", "b")):
        publish_random(tiny_base, name, tmp_path / name, seed=seed, r=2)
    done, whole = run("diff", "a", "b"), run("diff", "a", "b", "--all")
    assert done.stdout.count("update") == 20
    assert "1 more sites; --all shows them" in done.stderr
    assert whole.stdout.count("update") == 21


def test_export_is_the_stores_bytes_and_peft_loads_them(pair: tuple[str, str], tiny_base: Path, tmp_path: Path) -> None:
    done = run("export", "team/a", str(tmp_path / "out"))
    assert (done.exit_code, done.stdout) == (0, f"{tmp_path / 'out'}\n")
    stored = Store.default().resolve("team/a").files
    found = {path.name: path.read_bytes() for path in (tmp_path / "out").iterdir()}
    assert found == {name: path.read_bytes() for name, path in stored.items()}
    PeftModel.from_pretrained(AutoModelForCausalLM.from_pretrained(tiny_base), tmp_path / "out")
    assert Store.default().publish(tmp_path / "out", "again").digest == pair[0]


@pytest.mark.usefixtures("pair")
def test_export_replaces_an_adapter_only_when_forced_and_nothing_else_ever(tmp_path: Path) -> None:
    out = tmp_path / "out"
    assert run("export", "team/a", str(out)).exit_code == 0
    assert run("export", "team/b", str(out)).exit_code == 4
    assert run("export", "team/b", str(out), "--force").exit_code == 0
    assert (out / TENSORS_FILE).read_bytes() == Store.default().resolve("team/b").files[TENSORS_FILE].read_bytes()
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "thesis.txt").touch()
    done = run("export", "team/a", str(tmp_path / "other"), "--force")
    assert (done.exit_code, (tmp_path / "other" / "thesis.txt").exists()) == (4, True)
    (tmp_path / "link").symlink_to(out)
    assert run("export", "team/a", str(tmp_path / "link"), "--force").exit_code == 4


@pytest.mark.usefixtures("pair")
def test_an_export_that_fails_leaves_nothing_behind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("adapterhub.adapter.shutil.copyfile", full)
    done = run("export", "team/a", str(tmp_path / "out"))
    assert done.exit_code == 6
    assert done.stderr == f"error: {tmp_path / 'out'}: cannot be written: No space left on device\n"
    assert {path.name for path in tmp_path.iterdir()} == {"a", "b", "store"}


@pytest.mark.usefixtures("pair")
def test_merge_into_the_base_prints_the_folder_and_tells_the_drift(tiny_base: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    done = run("merge", "team/a", "--out", str(out), "--base", str(tiny_base))
    assert (done.exit_code, done.stdout) == (0, f"{out}\n")
    assert "the same next token after 100.0% of" in done.stderr
    again = run("merge", "team/a", "--out", str(out), "--base", str(tiny_base), "--force", "--json")
    record = json.loads(again.stdout)
    assert (record["dtype"], record["requantized"]) == ("float32", None)
    assert record["drift"]["top1_agreement"] == 1


def test_merge_of_several_publishes_a_new_adapter_with_its_parents(pair: tuple[str, str], tiny_base: Path) -> None:
    done = run("merge", "team/a=0.7", "team/b=0.3", "--name", "team/both", "--base", str(tiny_base))
    assert done.exit_code == 0, done.stderr
    assert done.stdout == f"{Store.default().pin('team/both')}\n"
    shown = run("show", "team/both").stdout
    assert f"team/a:latest@{pair[0]}" in shown
    assert re.search(r"weights +\[0.7, 0.3\]", shown)


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["team/a"], "need --out FOLDER"),
        (["team/a", "--out", "x", "--name", "y"], "need --out FOLDER"),
        (["team/a", "team/b", "--out", "x"], "--out takes one adapter, not 2"),
        (["team/a", "--out", "x", "--density", "0.5"], "--density does not go with --out"),
        (["team/a=1", "team/b=1", "--name", "x", "--requantize", "nf4"], "--requantize does not go with --name"),
        (["team/a=1", "team/b=1", "--name", "x", "--combination", "ties"], "density: ties needs one"),
        (["team/a", "team/b=1", "--name", "x"], "'team/a' is not REF=WEIGHT"),
        (["team/a=1", "team/b=1", "--name", "X"], "is not an adapter reference"),
    ],
)
@pytest.mark.usefixtures("pair")
def test_words_that_do_not_go_together_end_with_2(words: list[str], told: str) -> None:
    done = run("merge", *words)
    assert done.exit_code == 2
    assert told in done.stderr
