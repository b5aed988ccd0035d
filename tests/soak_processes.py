"""Several processes that train together: the same as one, and one of them speaks."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import replace
from itertools import chain
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from adapterhub.errors import ConfigError
from adapterhub.store import Store
from adapterhub.train import TrainConfig, train
from adapterhub.train.job import TrainJob
from adapterhub.train.processes import Processes
from adapterhub.train.sharding import check_sharding
from adapterhub.train.step_batches import StepBatches

RUNS: dict[str, dict[str, Any]] = {
    "lora": {"options": {"r": 4}},
    "adalora": {"method": "adalora"},
    "prefix": {"method": "prefix_tuning", "options": {"num_virtual_tokens": 4}},
    "bottleneck": {"method": "bottleneck"},
    "full": {"method": "full"},
}
FSDP = {
    "ACCELERATE_USE_FSDP": "true",
    "FSDP_VERSION": "2",
    "FSDP_AUTO_WRAP_POLICY": "TRANSFORMER_BASED_WRAP",
    "FSDP_CPU_RAM_EFFICIENT_LOADING": "false",
}
"""As `accelerate launch` sets them."""


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """25 rows: the last batch of an epoch has one, for two processes."""
    path = tmp_path_factory.mktemp("data") / "data.jsonl"
    pairs = [{"prompt": "so " * (number % 5) + f"{number}?", "completion": str(number)} for number in range(25)]
    path.write_text("".join(json.dumps(pair) + "\n" for pair in pairs))
    return path


def settings(base: Path, data: Path, **more: Any) -> dict[str, Any]:
    usual = {"base": str(base), "data": str(data), "validation": str(data), "quantization": "none"}
    # AdamW's step has the size of the learning rate, however small a gradient is: rounding is told by it too.
    return {**usual, "epochs": 1, "learning_rate": 3e-4, "prompt_format": "raw", **more}


def torchrun(*words: str, **variables: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2", *words]
    return subprocess.run(command, env=os.environ | variables, capture_output=True, text=True, timeout=250, check=False)


@pytest.mark.parametrize(
    ("sharding", "names"), [((), tuple(RUNS)), (("fsdp",), ("lora", "prefix", "bottleneck", "full"))]
)
def test_two_processes_are_one(
    sharding: tuple[str, ...], names: tuple[str, ...], tiny_base: Path, data: Path, tmp_path: Path
) -> None:
    runs = {name: settings(tiny_base, data, **RUNS[name]) for name in names}
    (tmp_path / "runs.json").write_text(json.dumps(runs))
    worker = Path(__file__).with_name("processes_of_a_run.py")
    done = torchrun(str(worker), str(tmp_path), *sharding, **(FSDP if sharding else {}))
    assert done.returncode == 0, done.stderr
    for name, values in runs.items():
        alone = train(TrainConfig.load(values, where=name), tmp_path / "alone" / name)
        together = json.loads((tmp_path / f"{name}.json").read_text())
        assert together["losses"] == pytest.approx(alone.losses, abs=1e-5)
        assert together["after"] == pytest.approx(alone.loss_after, abs=1e-5)
        (file,) = alone.folder.glob("*.safetensors")
        one, two = load_file(file), load_file(tmp_path / name / file.name)
        assert one.keys() == two.keys()
        for key in one:
            torch.testing.assert_close(two[key], one[key], atol=1e-5, rtol=0)


def test_one_of_them_publishes_and_speaks(tiny_base: Path, data: Path) -> None:
    words = ("--base", str(tiny_base), "--data", str(data), "--max-steps", "2", "--quantize", "none")
    done = torchrun("-m", "adapterhub", "train", *words, "--name", "team/both")
    assert done.returncode == 0, done.stderr
    (stored,) = Store.default().list()
    assert done.stdout == f"{stored.ref}\n"
    assert done.stderr.count("step 2/2") == 1


def test_an_error_of_all_is_told_once(tiny_base: Path, data: Path) -> None:
    words = ("--base", str(tiny_base), "--data", str(data), "--batch-size", "7", "--name", "team/both")
    done = torchrun("-m", "adapterhub", "train", *words)
    assert done.returncode != 0
    assert done.stderr.count("error: batch_size: 7 examples in a step are not to be shared by 2 processes") == 1
    assert "Traceback" not in done.stderr.partition("torch/distributed/elastic")[0]
    assert not Store.default().list()


@pytest.mark.parametrize(
    ("version", "values", "message"),
    [
        (None, {}, "accelerate does not shard on cpu"),
        (1, {}, "version 1 .* need fsdp_version: 2"),
        (2, {"quantization": "nf4"}, "a base held as nf4 is not to be sharded"),
        (2, {"method": "adalora"}, "method adalora looks at whole tensors between the steps"),
    ],
)
def test_what_cannot_be_sharded_is_refused_by_name(
    version: int | None,
    values: dict[str, Any],
    message: str,
    tiny_base: Path,
    data: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    job = TrainJob.prepare(TrainConfig.load(settings(tiny_base, data, **values), where="test"), None)
    monkeypatch.setenv("ACCELERATE_USE_FSDP", "true")
    plugin = version and SimpleNamespace(fsdp_version=version)
    accelerator = SimpleNamespace(state=SimpleNamespace(fsdp_plugin=plugin))
    check_sharding(job, accelerator)  # one process has nobody to share with
    with pytest.raises(ConfigError, match=f"FSDP: {message}"):
        check_sharding(replace(job, processes=Processes(2, 0, 0)), accelerator)


def test_what_they_could_not_share_is_refused(tiny_base: Path, data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in {"RANK": "1", "WORLD_SIZE": "3", "LOCAL_RANK": "1"}.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(ConfigError, match=r"batch_size: 8 examples in a step .* need a multiple of 3"):
        TrainJob.prepare(TrainConfig.load(settings(tiny_base, data), where="test"), None)
    with pytest.raises(ConfigError, match=r"objective dpo: it brings a trainer of its own, .* need one process"):
        TrainJob.prepare(TrainConfig.load(settings(tiny_base, data, objective="dpo", batch_size=6), where="test"), None)


@pytest.mark.parametrize("count", [1, 2, 3, 4])
def test_the_parts_of_a_batch_are_the_batch_of_one_process(count: int) -> None:
    lengths = [3 + number % 7 for number in range(26)]

    def batches(processes: Processes, epoch: int) -> list[list[int]]:
        made = StepBatches(lengths, rows=12, batches_a_step=1, by_length=True, seed=5, processes=processes)
        made.set_epoch(epoch)
        assert len(made) == len(list(made)) == 3
        return list(made)

    for epoch in (0, 1):
        alone = batches(Processes(1, 0, 0), epoch)
        assert sorted(chain(*alone)) == list(range(26))
        parts = [batches(Processes(count, rank, rank), epoch) for rank in range(count)]
        together = [set(chain(*each)) for each in zip(*parts, strict=True)]
        assert together == [set(each) for each in alone]
        assert all(min(len(each) for each in part) >= 1 for part in parts)
    assert batches(Processes(1, 0, 0), 0) != batches(Processes(1, 0, 0), 1)
