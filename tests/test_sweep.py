"""A sweep: every combination over one base, ranked; what cannot be trained is said, and the rest goes on."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from adapterhub.base import BaseModel
from adapterhub.cli.main import cli
from adapterhub.errors import ConfigError, InvalidInputError, RefError
from adapterhub.store import Store
from adapterhub.sweep import Outcome, Sweep, ranked
from adapterhub.sweep.run import run_sweep
from adapterhub.sweep.tag import tag_of
from adapterhub.train import TrainConfig
from adapterhub.train.settings_file import read_settings_file

TWO_METHODS = """
method = ["lora", "bottleneck"]
learning_rate = [1e-2, 3e-4]
max_steps = 4
prompt_format = "raw"

[options.lora]
r = [2, 4]
target_modules = [["q_proj", "down_proj"]]
"""


@pytest.fixture
def data(tmp_path: Path) -> Path:
    path = tmp_path / "data.jsonl"
    path.write_text("".join(json.dumps({"prompt": f"{n}?", "completion": "yes"}) + "\n" for n in range(24)))
    return path


def write(tmp_path: Path, base: Path, text: str) -> Path:
    file = tmp_path / "sweep.toml"
    file.write_text(f'name = "team/orders"\nbase = "{base}"\ndata = "data.jsonl"\n{text}')
    return file


def sweep_of(tmp_path: Path, base: Path, text: str) -> Sweep:
    return Sweep.of(read_settings_file(write(tmp_path, base, text), {}), where="sweep.toml")


def run(file: Path, *words: str) -> Result:
    return CliRunner().invoke(cli, ["train", "--sweep", str(file), *words])


def test_every_combination_of_a_methods_own_values_is_a_trial(tmp_path: Path, data: Path) -> None:
    sweep = sweep_of(tmp_path, tmp_path, TWO_METHODS)
    assert [trial.ref for trial in sweep.trials] == [
        "team/orders:lora-r2-lr0.01",
        "team/orders:lora-r2-lr3e-4",
        "team/orders:lora-r4-lr0.01",
        "team/orders:lora-r4-lr3e-4",
        "team/orders:bottleneck-lr0.01",
        "team/orders:bottleneck-lr3e-4",
    ]
    first, *_, last = sweep.trials
    assert first.config.options == {"r": 2, "target_modules": ["q_proj", "down_proj"]}
    assert (first.config.max_steps, first.config.data, last.config.options) == (4, data, {})
    assert last.varied == {"method": "bottleneck", "learning_rate": 3e-4}


def test_a_tag_is_short_readable_and_one_that_names_accept() -> None:
    assert tag_of("lora", {"r": 16, "learning_rate": 1e-3}) == "lora-r16-lr1e-3"
    assert tag_of("lora", {"learning_rate": 2.5e-5, "batch_size": 8}) == "lora-lr2.5e-5-bs8"
    assert (
        tag_of("ia3", {"schedule": "cosine", "targets": ["q_proj", "v/x"]}) == "ia3-schedule-cosine-targets-q_proj-v-x"
    )
    assert len(tag_of("lora", {"target_modules": ["some_long_name"] * 20})) < 96


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("learnin_rate = [1]", r"unknown key 'learnin_rate'; did you mean 'learning_rate'\? \(known: .*base, "),
        ("max_length = [64, 128]", "max_length: one value for all, or their losses do not compare"),
        ("seed = [1, 2]", "seed: several need a validation file"),
        ("learning_rate = []", "learning_rate: no value to try"),
        ("learning_rate = [1e-3, 0.001]", "team/orders:lora-lr1e-3-[0-9a-f]{8} would be trained twice"),
        ("learning_rate = [1e-3, -1]", "sweep: learning_rate: Input should be greater than 0"),
        ("validation_share = 0", "with nothing held out, there is nothing to rank by"),
        ("[options]\nr = [2, 4]", r"options: 'r' is no table of a method \(tried: lora\)"),
        ("[options.ia3]\nr = [2, 4]", r"options: 'ia3' is no table of a method \(tried: lora\)"),
        ("max_steps = ", "not TOML"),
    ],
)
def test_a_mistake_in_the_file_is_named(tmp_path: Path, data: Path, text: str, problem: str) -> None:
    with pytest.raises(ConfigError, match=problem):
        sweep_of(tmp_path, tmp_path, text)


def test_a_missing_file_and_a_name_with_a_tag_are_refused(tmp_path: Path, data: Path) -> None:
    with pytest.raises(InvalidInputError, match=r"nowhere\.toml: no such file"):
        read_settings_file(tmp_path / "nowhere.toml", {})
    values = {"name": "team/orders:v1", "base": "x", "data": data}
    with pytest.raises(RefError, match="every adapter of a sweep has its own tag; give the name alone"):
        Sweep.of(values, where="test")
    with pytest.raises(ConfigError, match="name: missing"):
        Sweep.of({**values, "name": None}, where="test")


def test_the_lowest_loss_is_first_and_what_failed_last(tmp_path: Path, data: Path) -> None:
    trials = sweep_of(tmp_path, tmp_path, TWO_METHODS).trials
    losses = (2.0, None, 1.0)
    outcomes = [
        Outcome(trial, "trained", evaluations={} if loss is None else {"validation_loss_after": loss})
        for trial, loss in zip(trials, losses, strict=False)
    ]
    assert [outcome.trial for outcome in ranked(outcomes)] == [trials[2], trials[0], trials[1]]


def test_trials_are_ranked_and_published_and_not_trained_again(tiny_base: Path, tmp_path: Path, data: Path) -> None:
    file = write(tmp_path, tiny_base, TWO_METHODS.replace("[1e-2, 3e-4]", "[1e-2]"))
    done = run(file, "--json")
    assert done.exit_code == 0, done.output
    trials = json.loads(done.stdout)["trials"]
    losses = [trial["validation_loss_after"] for trial in trials]
    assert losses == sorted(losses)
    assert losses[0] < losses[-1]
    assert {trial["state"] for trial in trials} == {"trained"}
    assert {trial["ref"] for trial in trials} == {each.ref.label for each in Store.default().list()}
    assert all(trial["digest"] == Store.default().pin(trial["ref"]).digest for trial in trials)
    assert {trial["varied"]["r"]: trial["parameters"] for trial in trials if "r" in trial["varied"]}[4] > 0
    assert all("general_loss_change" in trial and trial["seconds"] > 0 for trial in trials)

    again = run(file)
    assert again.exit_code == 0, again.output
    assert again.stderr.count(" is trained already\n") == len(trials)
    assert ": step " not in again.stderr
    assert [row.split()[1] for row in again.stdout.splitlines()[1:]] == [trial["ref"] for trial in trials]


def test_a_flag_and_a_name_win_over_the_file(tiny_base: Path, tmp_path: Path, data: Path) -> None:
    text = "learning_rate = [1e-3, 1e-2]\nmax_steps = 9\n"
    done = run(write(tmp_path, tiny_base, text), "--learning-rate", "2e-2", "--max-steps", "1", "--name", "mine")
    assert done.exit_code == 0, done.output
    (stored,) = Store.default().list()
    assert stored.ref.label == "mine:lora"
    provenance = Store.default().resolve("mine:lora").provenance
    assert provenance is not None
    assert (provenance.training["learning_rate"], provenance.training["steps"]) == (2e-2, 1)


def test_what_is_trained_already_is_known_by_its_settings_and_data(tiny_base: Path, tmp_path: Path, data: Path) -> None:
    def states(text: str) -> list[str]:
        return [outcome.state for outcome in run_sweep(sweep_of(tmp_path, tiny_base, text), base=base)]

    base = BaseModel.load(str(tiny_base), quantization="none", device="cpu")
    text = 'max_steps = 1\nlearning_rate = [1e-3, 1e-2]\nprompt_format = "raw"\n'
    assert states(text) == ["trained", "trained"]
    assert states(text) == ["kept", "kept"]
    assert states(text + "batch_size = 4\n") == ["trained", "trained"]
    assert states(text + "[options.lora]\nr = 3\n") == ["trained", "trained"]
    data.write_text(data.read_text().replace("yes", "no"))
    assert states(text + "[options.lora]\nr = 3\n") == ["trained", "trained"]


def test_what_is_refused_is_said_before_anything_trains_and_the_others_go_on(
    tiny_base: Path, tmp_path: Path, data: Path
) -> None:
    text = 'method = ["lora", "bottleneck"]\nmax_steps = 1\n[options.lora]\nr = [2, 9000]\n'
    text += 'target_modules = [["q_proj"], ["query"]]'
    done = run(write(tmp_path, tiny_base, text))
    assert done.exit_code == 0, done.output
    lines = [line for line in done.stderr.splitlines() if line and not line.startswith("Loading weights")]
    assert [line.partition(":")[0] for line in lines[:3]] == ["refused"] * 3
    assert "lora-r2-target_modules-query: target_modules: 'query' matches no linear module" in done.stderr
    assert "lora-r9000-target_modules-q_proj: method lora: r: Input should be less than" in done.stderr
    assert not any(line.startswith("refused") for line in lines[3:])
    header, *rows = done.stdout.splitlines()
    assert header.split()[:3] == ["RANK", "ADAPTER", "LOSS"]
    assert [row.split()[0] for row in rows] == ["1", "2"]
    assert {row.split()[1].rpartition(":")[2] for row in rows} == {"lora-r2-target_modules-q_proj", "bottleneck"}


def test_a_trial_that_fails_leaves_the_base_and_the_others_alone(tiny_base: Path, tmp_path: Path, data: Path) -> None:
    base = BaseModel.load(str(tiny_base), quantization="none", device="cpu")
    sweep = sweep_of(tmp_path, tiny_base, 'learning_rate = [1e30, 1e-2]\nmax_steps = 4\nprompt_format = "raw"\n')
    best, failed = run_sweep(sweep, base=base)
    assert (best.state, failed.state, failed.digest) == ("trained", "failed", "")
    assert failed.trial.varied["learning_rate"] == 1e30
    assert "learning_rate: the loss is " in failed.reason
    assert [each.ref.label for each in Store.default().list()] == [best.trial.ref]
    fresh = tmp_path / "other"
    fresh.mkdir()
    (again,) = run_sweep(Sweep(sweep.name, sweep.trials[1:]), base=base, store=Store(fresh))
    assert again.digest != ""
    assert again.evaluations == best.evaluations


def test_a_sweep_of_which_all_is_refused_is_an_error(tiny_base: Path, tmp_path: Path, data: Path) -> None:
    done = run(write(tmp_path, tiny_base, "max_steps = 1\n[options.lora]\nr = [9000, 9001]"))
    assert done.exit_code == 2
    assert done.stderr.startswith("error: method lora: r: Input should be less than")


def test_options_as_flags_are_refused_beside_a_sweep(tiny_base: Path, tmp_path: Path, data: Path) -> None:
    done = run(write(tmp_path, tiny_base, ""), "-o", "r=4")
    assert done.exit_code == 2
    assert "with --sweep, options stand in its file" in done.stderr


def test_settings_that_must_be_alike_exist() -> None:
    from adapterhub.sweep.grid import ALIKE

    later: set[Any] = {"format"}
    assert ALIKE - later <= TrainConfig.model_fields.keys()
