"""A run that ends by a signal, at any moment: nothing half published, and the same adapter in the end."""

from __future__ import annotations

import json
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from run_cases import save_colors

from adapterhub.adapter import TENSORS_FILE
from adapterhub.cli.main import cli
from adapterhub.store import Store

SETTINGS = {"batch-size": 3, "epochs": 4, "learning-rate": 1e-2, "checkpoint-every": 1, "prompt-format": "raw"}
FLAGS = [word for name, value in SETTINGS.items() for word in (f"--{name}", str(value))]
OPTIONS = ["-o", "r=4", "-o", "lora_dropout=0.2"]
STEPS = 24  # 18 examples in batches of 3, four times


@pytest.fixture
def data(tmp_path: Path) -> Path:
    return save_colors(tmp_path / "colors.jsonl")


def run(*words: str) -> Result:
    return CliRunner().invoke(cli, ["train", *words])


def words(base: Path, data: Path, name: str) -> list[str]:
    return ["--name", name, "--base", str(base), "--data", str(data), *FLAGS, *OPTIONS]


def published(name: str) -> bytes:
    return Store.default().resolve(name).files[TENSORS_FILE].read_bytes()


def start(*arguments: str) -> subprocess.Popen[str]:
    """The command line as a process of its own."""
    script = Path(__file__).with_name("kill_run.py")
    return subprocess.Popen(
        [sys.executable, str(script), "train", *arguments], stderr=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )


def wait_for(place: Path, step: int, process: subprocess.Popen[str]) -> None:
    """Until the log tells of that step, or the run has ended."""
    log = place / "log.jsonl"
    while process.poll() is None:
        if log.exists() and f'"event": "step", "step": {step},' in log.read_text():
            return
        time.sleep(0.01)


def test_ctrl_c_ends_the_run_after_a_step_and_resume_gives_the_same_adapter(
    tiny_base: Path, data: Path, tmp_path: Path
) -> None:
    assert run(*words(tiny_base, data, "team/whole")).exit_code == 0
    place = tmp_path / "runs" / "team/parts@latest"
    process = start(*words(tiny_base, data, "team/parts"))
    wait_for(place, 3, process)
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=120)
    assert process.returncode == 130, err
    assert out == ""
    assert "stopping after this step; once more stops at once" in err
    assert "nothing was published. Go on with: adapterhub train --name team/parts --resume" in err
    assert [stored.ref.name for stored in Store.default().list()] == ["team/whole"]
    assert not (place / "adapter").exists()
    done = run("--name", "team/parts", "--resume")
    assert done.exit_code == 0, done.stderr
    assert published("team/parts") == published("team/whole")


def test_a_run_that_is_killed_at_any_moment_goes_on_to_the_same_adapter(
    tiny_base: Path, data: Path, tmp_path: Path
) -> None:
    assert run(*words(tiny_base, data, "whole")).exit_code == 0
    place = tmp_path / "runs" / "parts@latest"
    process = start(*words(tiny_base, data, "parts"))
    moments = random.Random(7)
    for step in (4, 12):
        wait_for(place, step, process)
        time.sleep(moments.random() / 10)  # anywhere in a step, a validation or a checkpoint
        process.kill()
        process.communicate(timeout=60)
        assert process.returncode == -signal.SIGKILL
        assert [stored.ref.name for stored in Store.default().list()] == ["whole"]
        process = start("--name", "parts", "--resume")
    _, err = process.communicate(timeout=120)
    assert process.returncode == 0, err
    losses = {name: _losses(tmp_path / "runs" / f"{name}@latest") for name in ("whole", "parts")}
    assert len(losses["whole"]) == STEPS
    assert losses["parts"] == losses["whole"]
    assert published("parts") == published("whole")


def _losses(place: Path) -> list[float]:
    lines = [json.loads(line) for line in (place / "log.jsonl").read_text().splitlines()]
    return [line["loss"] for line in lines if line["event"] == "step"]
