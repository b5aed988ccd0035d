"""`adapterhub train` as a run: its file, its folder and its progress."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result
from run_cases import save_colors

from adapterhub.cli.main import cli
from adapterhub.store import Store

SETTINGS = {"batch-size": 3, "epochs": 4, "learning-rate": 1e-2, "checkpoint-every": 1, "prompt-format": "raw"}
FLAGS = [word for name, value in SETTINGS.items() for word in (f"--{name}", str(value))]
OPTIONS = ["-o", "r=4", "-o", "lora_dropout=0.2"]


@pytest.fixture
def data(tmp_path: Path) -> Path:
    return save_colors(tmp_path / "colors.jsonl")


def run(*words: str) -> Result:
    return CliRunner().invoke(cli, ["train", *words])


def words(base: Path, data: Path, name: str) -> list[str]:
    return ["--name", name, "--base", str(base), "--data", str(data), *FLAGS, *OPTIONS]


def test_the_runs_file_says_what_flags_do_not(tiny_base: Path, data: Path, tmp_path: Path) -> None:
    """Its paths are relative to it, whatever folder the command runs in."""
    file = tmp_path / "run.toml"
    file.write_text(
        f'name = "team/numbers"\nbase = "{tiny_base}"\ndata = "{data.name}"\nmax-steps = 2\nseed = 5\n'
        'quantize = "none"\n[options]\nr = 4\nlora_alpha = 3\n'
    )
    done = run("--config", str(file), "--seed", "6", "-o", "r=2")
    assert done.exit_code == 0, done.output
    adapter = Store.default().resolve("team/numbers")
    assert (adapter.config["r"], adapter.config["lora_alpha"]) == (2, 3)
    assert adapter.provenance is not None
    assert (adapter.provenance.training["seed"], adapter.provenance.training["max_steps"]) == (6, 2)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            "learnin_rate = 1",
            "run.toml: unknown key 'learnin_rate'; did you mean 'learning_rate'? (known: accumulate, ",
        ),
        ("epochs = 0", "epochs: Input should be greater than 0"),
        ("epochs = ", "run.toml: not TOML: "),
        ("epochs = 1", "missing option '--base'"),
    ],
)
def test_what_is_wrong_in_the_runs_file_is_named(data: Path, tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "run.toml").write_text(f'name = "x"\ndata = "{data.name}"\n{text}')
    done = run("--config", str(tmp_path / "run.toml"), *(("--base", "x") if "missing" not in message else ()))
    assert (done.exit_code, done.stdout) == (2, "")
    assert message in done.stderr
    assert done.stderr.count("\n") == 1


def test_flags_win_over_variables_over_the_runs_file_over_the_config_file(
    tiny_base: Path, data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = tmp_path / "config.toml"
    config.write_text(
        '[train]\nseed = 1\nbatch_size = 1\naccumulate = 1\nwarmup = 0.5\noption = ["r=2", "lora_alpha=7"]'
    )
    (tmp_path / "run.toml").write_text("seed = 2\nbatch_size = 2\naccumulate = 2\n[options]\nr = 3\n")
    monkeypatch.setenv("ADAPTERHUB_CONFIG", str(config))
    monkeypatch.setenv("ADAPTERHUB_TRAIN_BATCH_SIZE", "4")
    monkeypatch.setenv("ADAPTERHUB_TRAIN_SEED", "4")
    more = ("--config", str(tmp_path / "run.toml"), "--seed", "5", "--max-steps", "1", "--name", "x")
    done = run("--base", str(tiny_base), "--data", str(data), *more)
    assert done.exit_code == 0, done.output
    adapter = Store.default().resolve("x")
    assert adapter.provenance is not None
    training = adapter.provenance.training
    assert [training[name] for name in ("seed", "batch_size", "accumulate", "warmup")] == [5, 4, 2, 0.5]
    assert (adapter.config["r"], adapter.config["lora_alpha"]) == (3, 7)


def test_progress_is_lines_of_json_where_that_is_asked_for(tiny_base: Path, data: Path, tmp_path: Path) -> None:
    done = run(
        *words(tiny_base, data, "x"), "--max-steps", "3", "--json-log", "--json", "--run-folder", str(tmp_path / "r")
    )
    assert done.exit_code == 0, done.output
    lines = [line for line in done.stderr.splitlines() if line.startswith("{")]  # `main` turns libraries' bars off
    told: list[dict[str, Any]] = [json.loads(line) for line in lines]
    assert [line["step"] for line in told if line["event"] == "step"] == [1, 2, 3]
    assert told[-1] == {"event": "end", "step": 3, "total": 3, "reason": "finished", "best_step": 3}
    assert told == [json.loads(line) for line in (tmp_path / "r" / "log.jsonl").read_text().splitlines()]
    report = json.loads(done.stdout)
    assert (report["best_step"], report["steps"]) == (3, 3)
    assert report["peak_bytes"] > 1e6
    record = json.loads((tmp_path / "r" / "run.json").read_text())
    assert (record["status"], record["name"]) == ("finished", "x")
    assert record["published"].startswith("x:latest@sha256:")


def test_elsewhere_than_on_a_terminal_progress_is_plain_lines(tiny_base: Path, data: Path) -> None:
    done = run(*words(tiny_base, data, "x"), "--max-steps", "2")
    assert "training: validation loss " in done.stderr
    (last,) = [line for line in done.stderr.splitlines() if line.startswith("training: step 2/2, loss ")]
    assert last.endswith(" tokens/s, 0s left")
