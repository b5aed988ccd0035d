"""What a run leaves in its folder, and what it does when the folder or the disk is not what it needs."""

from __future__ import annotations

import errno
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from run_cases import run_in, save_colors

from adapterhub.base import BaseModel
from adapterhub.errors import ConfigError, ConflictError, NotFoundError, UnavailableError
from adapterhub.testing import save_tiny_llama
from adapterhub.train.result import RunStopped
from adapterhub.train.run_folder import RunFolder


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> BaseModel:
    return BaseModel.load(str(save_tiny_llama(tmp_path_factory.mktemp("tiny"))), quantization="none", device="cpu")


@pytest.fixture
def data(tmp_path: Path) -> Path:
    return save_colors(tmp_path / "colors.jsonl")


def lines(place: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (place / "log.jsonl").read_text().splitlines()]


def checkpoints(place: Path) -> list[str]:
    return sorted(path.name for path in (place / "checkpoints").iterdir())


def test_the_log_tells_every_event_once_also_of_a_run_that_was_resumed(
    base: BaseModel, data: Path, tmp_path: Path
) -> None:
    whole, parts = tmp_path / "whole", tmp_path / "parts"
    result = run_in(whole, base, data)
    with pytest.raises(RunStopped):
        run_in(parts, base, data, until=5)
    assert lines(parts)[-1] == {"event": "end", "step": 5, "total": 9, "reason": "stopped", "best_step": 3}
    with (parts / "log.jsonl").open("a") as log:
        log.write('{"event": "step", "st')  # a kill cut the line in two
    run_in(parts, base, data, resume=True)
    kept = [line for line in lines(parts) if line.get("reason") != "stopped"]
    timeless = [{name: value for name, value in line.items() if name != "seconds"} for line in kept]
    expected = [{name: value for name, value in line.items() if name != "seconds"} for line in lines(whole)]
    assert [line for line in timeless if line["event"] != "checkpoint"] == [
        line for line in expected if line["event"] != "checkpoint"
    ]
    steps = [line for line in lines(whole) if line["event"] == "step"]
    assert [line["loss"] for line in steps] == list(result.losses)
    assert steps[0].keys() == {"event", "step", "total", "loss", "learning_rate", "tokens", "seconds"}
    assert sum(line["tokens"] for line in steps) == result.tokens
    validations = [line for line in lines(whole) if line["event"] == "validation"]
    assert [line["step"] for line in validations] == [3, 6, 9]
    assert [line["step"] for line in lines(whole) if line["event"] == "checkpoint"] == [2, 4, 6, 8, 9]
    assert lines(whole)[-1]["reason"] == "finished"


def test_tensorboard_reads_the_curves(base: BaseModel, data: Path, tmp_path: Path) -> None:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    with pytest.raises(RunStopped):
        run_in(tmp_path / "run", base, data, until=5)
    result = run_in(tmp_path / "run", base, data, resume=True)
    curves = EventAccumulator(str(tmp_path / "run" / "tensorboard")).Reload()
    assert [point.step for point in curves.Scalars("train/loss")] == list(range(1, 10))
    assert [point.value for point in curves.Scalars("train/loss")] == pytest.approx(result.losses, abs=1e-6)
    assert [point.step for point in curves.Scalars("validation/loss")] == [3, 6, 9]


def test_a_checkpoint_holds_what_learns_and_not_the_base(base: BaseModel, data: Path, tmp_path: Path) -> None:
    from safetensors.torch import load_file

    with pytest.raises(RunStopped):
        run_in(tmp_path / "run", base, data, until=3, options={"r": 4, "bias": "all"})
    state = load_file(tmp_path / "run" / "checkpoints" / "checkpoint-3" / "adapter.safetensors")
    assert {name.split(":")[0] for name in state} == {"learns"}
    assert all("lora_" in name for name in state)
    assert {tensor.dtype for tensor in state.values()} == {torch.float32}


def test_a_run_that_could_go_on_is_not_thrown_away_by_accident(base: BaseModel, data: Path, tmp_path: Path) -> None:
    place = tmp_path / "run"
    with pytest.raises(RunStopped):
        run_in(place, base, data, until=2)
    with pytest.raises(ConflictError, match="an unfinished run is there, at step 2; --resume goes on with it, --rest"):
        run_in(place, base, data)
    with RunFolder.open(place, restart=True) as folder:
        assert folder.checkpoints.last() is None
        assert sorted(path.name for path in place.iterdir()) == [".lock"]


def test_a_finished_run_makes_room_for_the_next(base: BaseModel, data: Path, tmp_path: Path) -> None:
    place = tmp_path / "run"
    first = run_in(place, base, data)
    with RunFolder.open(place, resume=True) as folder:
        folder.finish(published="team/x:latest")
    assert checkpoints(place) == ["best.safetensors"]
    assert not (place / "adapter").exists()
    with pytest.raises(ConflictError, match="the run there is finished; nothing to resume"):
        run_in(place, base, data, resume=True)
    assert run_in(place, base, data).losses == first.losses


def test_a_folder_of_something_else_or_of_somebody_at_work_is_left_alone(
    base: BaseModel, data: Path, tmp_path: Path
) -> None:
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.txt").touch()
    with pytest.raises(ConflictError, match="mine: not empty, and not the folder of a run"):
        run_in(tmp_path / "mine", base, data)
    assert [path.name for path in (tmp_path / "mine").iterdir()] == ["thesis.txt"]
    with RunFolder.open(tmp_path / "run"), pytest.raises(ConflictError, match="another process is training there"):
        run_in(tmp_path / "run", base, data)
    with pytest.raises(NotFoundError, match="empty: no run to resume"):
        run_in(tmp_path / "empty", base, data, resume=True)
    (tmp_path / "run" / "run.json").write_text("{")
    with pytest.raises(ConfigError, match=r"run\.json: cannot be read: "):
        run_in(tmp_path / "run", base, data)


def test_a_folder_that_cannot_be_written_is_named_before_the_run(base: BaseModel, data: Path, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(UnavailableError, match=r"file/run: the run's folder could not be written: Not a directory; ne"):
        run_in(tmp_path / "file" / "run", base, data)


@pytest.mark.parametrize("error", [errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EIO])
def test_a_disk_that_takes_no_checkpoint_ends_the_run_and_leaves_the_one_before(
    base: BaseModel, data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: int
) -> None:
    whole, place = run_in(tmp_path / "whole", base, data), tmp_path / "run"
    real = os.fsync

    def fsync(descriptor: int) -> None:
        if "checkpoint-6" in str(Path(f"/proc/self/fd/{descriptor}").readlink()):
            raise OSError(error, os.strerror(error))
        real(descriptor)

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", fsync)
        with pytest.raises(UnavailableError, match=f"checkpoint of step 6 could not be written: {os.strerror(error)}"):
            run_in(place, base, data)
    assert checkpoints(place) == ["best.safetensors", "checkpoint-2", "checkpoint-4"]
    assert not (place / "adapter").exists()
    assert run_in(place, base, data, resume=True).losses == whole.losses


LIMITED = """
import resource, sys
from pathlib import Path
import torch
torch.set_num_threads(1)
from adapterhub.base import BaseModel
from adapterhub.errors import AdapterHubError
from run_cases import run_in
base = BaseModel.load(sys.argv[1], quantization="none", device="cpu")
for limit in map(int, sys.argv[4:]):
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, resource.RLIM_INFINITY))
    try:
        run_in(Path(sys.argv[2]), base, Path(sys.argv[3]), resume=(Path(sys.argv[2]) / "run.json").exists())
    except AdapterHubError as error:
        print(error.exit_code, error)
"""


def test_whatever_file_the_disk_does_not_take_it_is_told_and_nothing_half_written_stays(
    tiny_base: Path, data: Path, tmp_path: Path
) -> None:
    """Of torch's files, of safetensors', and of the log."""
    place = tmp_path / "run"
    limits = ("500", "30000", "60000")  # run.json, the adapter, and the state of the optimizer are larger
    command = [sys.executable, "-c", LIMITED, str(tiny_base), str(place), str(data), *limits]
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=Path(__file__).parent)
    assert done.returncode == 0, done.stderr
    told = done.stdout.splitlines()
    assert len(told) == len(limits), done.stdout
    assert all(line.startswith(f"6 {tmp_path}") and "could not be written: " in line for line in told), done.stdout
    assert not (place / "adapter").exists()
    names = [path.name for path in place.rglob("*") if path.name.startswith(".")]
    assert names == [".lock"]
    assert not list(place.glob("checkpoints/checkpoint-*"))


def test_a_loss_that_is_not_finite_keeps_the_last_good_checkpoint(
    base: BaseModel, data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The tensors of the step before it are not finite either, and are not kept."""
    settings: dict[str, Any] = {"learning_rate": 1e39, "warmup": 0.5, "checkpoint_every": 1}
    with pytest.raises(ConfigError, match=r"learning_rate: .* with 1e\+39; try a lower one, or a longer warmup"):
        run_in(tmp_path / "run", base, data, **settings)
    assert "checkpoint-1" in checkpoints(tmp_path / "run")  # the first step of a warmup is of no rate at all
    assert not (tmp_path / "run" / "adapter").exists()
