"""What goes with what: printed, documented, refused by name; and an objective as a stranger writes it."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Mapping, Sequence
from importlib.metadata import EntryPoint
from pathlib import Path
from typing import Any

import pytest
from objective_runs import encoder_of, save_lines, train_to

from adapterhub import BaseShape
from adapterhub.base import BaseModel, read_base
from adapterhub.data import Dataset
from adapterhub.errors import AdapterHubError, ConfigError
from adapterhub.method import Method, MethodConfig
from adapterhub.objective import LossObjective, ObjectiveConfig
from adapterhub.plugins import OBJECTIVES_GROUP, VARIABLE, PluginStatus, installed_methods, load_objectives
from adapterhub.records import Text
from adapterhub.testing import save_tiny_llama
from adapterhub.train import TrainConfig, train
from adapterhub.train.goal import Goal
from adapterhub.train.side import Side
from adapterhub.train.table import table, trainables

PAGE = Path(__file__).parent.parent / "docs" / "objectives.md"
NEEDED: tuple[Mapping[str, Any], ...] = ({"num_virtual_tokens": 4}, {"token_indices": [3]})
"""Options without a default."""


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> BaseModel:
    folder = save_tiny_llama(tmp_path_factory.mktemp("tiny-64"), hidden=64)
    return BaseModel.load(str(folder), quantization="none", device="cpu")


@pytest.fixture
def data(tmp_path: Path) -> Path:
    lines = ({"prompt": f"{number}?", "completion": ("red", "blue")[number % 2]} for number in range(12))
    return save_lines(tmp_path / "pairs.jsonl", lines)


def test_the_documented_table_is_what_the_plugins_say() -> None:
    (documented,) = re.findall(r"^```text\n(.*?)\n```$", PAGE.read_text(), flags=re.MULTILINE | re.DOTALL)
    assert documented == table(), "python -m adapterhub.train.table"


def test_every_objective_has_a_section_or_a_page_and_every_method_a_row() -> None:
    lines = table().splitlines()
    methods = installed_methods()
    for name in [*(name for name, method in methods.by_name.items() if method.trained), *methods.presets]:
        assert any(re.search(rf"\b{name}\b", line) for line in lines[1:]), name
    assert lines[0].split()[3:-1] == sorted(load_objectives().by_name)
    pages = "".join(page.read_text() for page in PAGE.parent.glob("*.md"))
    assert all(re.search(rf"^##? .*\b{name}\b", pages, flags=re.MULTILINE) for name in load_objectives().by_name)


def options_of(method: Method[Any]) -> MethodConfig:
    """Its defaults, with what has none."""
    for more in ({}, *NEEDED):
        try:
            config: MethodConfig = method.Config.load(more, where="test")
        except ConfigError:
            continue
        return config
    raise AssertionError(f"{method.name}: which options does it need?")


@pytest.mark.parametrize("name", sorted(installed_methods().by_name))
def test_a_method_is_trained_on_the_bases_that_it_says(name: str) -> None:
    method, shape = installed_methods().get(name), read_base("smollm2-135m")[1]
    for held in ("none", "nf4") if method.trained else ():
        refused = ""
        try:
            method.check_training(options_of(method), shape, held)
        except ConfigError as error:
            refused = error.field
        assert (refused == "quantization") == (held not in method.trained_on), held


class Fussy(LossObjective[ObjectiveConfig]):
    """Trains no method of virtual tokens."""

    name = "fussy"
    Config = ObjectiveConfig
    summary = "for a test"

    def refuses(
        self, config: ObjectiveConfig, method: Method[Any], options: MethodConfig | None, shape: BaseShape | None
    ) -> str:
        return "it counts positions" if {"kv", "prompt"} & set(method.site_kinds) else ""


def test_what_an_objective_refuses_is_in_the_table_with_its_reason() -> None:
    found = {each.name: each for each in trainables(installed_methods(), [Fussy()])}
    assert found["prompt_tuning"].refused == {"fussy": "it counts positions"}
    assert found["lora"].refused == {}
    assert (found["lora"].held, found["qlora"].held, found["loha"].held) == (("none", "nf4"), ("nf4",), ("none",))
    assert "multitask_prompt_tuning" not in found


HELP = """
import sys
from adapterhub.cli.main import cli
cli(["train", "--help"], standalone_mode=False)
"""


def test_help_ends_with_the_table_and_is_help_also_with_a_plugin_that_is_not_installed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def shown() -> str:
        done = subprocess.run([sys.executable, "-c", HELP], capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        return done.stdout

    ending = shown().partition("\nWhat is trained how:\n")[2]
    assert ending.split() == table().split()
    assert all(len(line) <= 80 for line in ending.splitlines())
    monkeypatch.setenv(VARIABLE, "lorra")
    assert "no plugin 'lorra'; did you mean 'lora'?" in shown()


def documented() -> str:
    (example,) = re.findall(r"^```python\n(.*?)^```$", PAGE.read_text(), flags=re.MULTILINE | re.DOTALL)
    return str(example)


def install(folder: Path, name: str, source: str) -> EntryPoint:
    """A distribution in `folder` whose module gives an objective."""
    (folder / f"{name}.py").write_text(source)
    metadata = folder / f"{name}-1.0.dist-info"
    metadata.mkdir()
    (metadata / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n")
    (metadata / "entry_points.txt").write_text(f"[{OBJECTIVES_GROUP}]\n{name} = {name}\n")
    return EntryPoint(name, name, OBJECTIVES_GROUP)


@pytest.mark.parametrize("method", ["lora", "prompt_tuning"])
def test_the_documented_objective_trains_as_it_is(
    base: BaseModel, data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, method: str
) -> None:
    install(tmp_path, "smoothed", documented())
    monkeypatch.syspath_prepend(tmp_path)
    result = train_to("smoothed", base, data, tmp_path / "out", method, objective_options={"smoothing": 0.2})
    assert result.loss_before is not None
    assert result.loss_after is not None
    assert result.loss_after < 0.95 * result.loss_before
    assert (record := result.adapter.provenance) is not None
    assert record.training["objective_options"] == {"smoothing": 0.2}
    plain = train_to("sft", base, data, tmp_path / "plain", method, max_steps=1)
    same = train_to("smoothed", base, data, tmp_path / "same", method, max_steps=1, objective_options={"smoothing": 0})
    assert same.loss_before == pytest.approx(plain.loss_before, abs=1e-5)
    sys.modules.pop("smoothed")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (('records = (Pair,)', 'records = (Pair,)\n\n    def refuses(self, *asked: Any) -> str:\n        return "no."'),
         "objective smoothed with method lora: no."),
        (("def encode", "def encodes"), "objective 'smoothed': NotImplementedError: gives neither encode nor prepare"),
        (("return encoder.pair(record)", "return encoder.example(encoder.pair(record)['input_ids'], [])"),
         r"pairs\.jsonl:1: no token of it is in the loss"),
    ],
)  # fmt: skip
def test_an_objective_that_cannot_train_says_why_before_the_base_is_loaded_or_a_step_is_made(
    base: BaseModel,
    data: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    change: tuple[str, str],
    message: str,
) -> None:
    install(tmp_path, "smoothed", documented().replace(*change))
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(AdapterHubError, match=message):
        train_to("smoothed", base, data, tmp_path / "out", "lora")
    sys.modules.pop("smoothed")


def test_a_refused_combination_is_named_before_the_base_is_read(tmp_path: Path, data: Path) -> None:
    save_tiny_llama(tmp_path / "no-weights")
    (tmp_path / "no-weights" / "model.safetensors").unlink()
    values = {"base": str(tmp_path / "no-weights"), "data": data, "method": "lora", "objective": "cpt"}
    options = {"alora_invocation_tokens": [5]}
    texts = save_lines(tmp_path / "texts.jsonl", ({"text": f"{number}"} for number in range(4)))
    config = TrainConfig.load({**values, "data": texts, "options": options}, where="test")
    with pytest.raises(ConfigError, match="objective cpt with method lora: it acts behind its invocation tokens"):
        train(config, tmp_path / "out")


def test_each_run_has_an_objective_of_its_own() -> None:
    assert Goal.of("sft", {}).objective is not Goal.of("sft", {}).objective


def test_a_broken_objective_is_left_out_with_its_reason(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(tmp_path)
    found = load_objectives([install(tmp_path, "smoothed", documented()), install(tmp_path, "other", "1 / 0")])
    other, smoothed = found.plugins
    assert smoothed == PluginStatus("smoothed", "", "", ("register_objectives",), objectives=("smoothed",))
    assert "ZeroDivisionError" in other.error
    with pytest.raises(ConfigError, match=r"unknown objective 'smoothd'; did you mean 'smoothed'\?"):
        found.get("smoothd")
    for name in ("smoothed", "other"):
        sys.modules.pop(name, None)


def test_rows_without_a_learned_token_are_refused_together_and_left_out_singly(base: BaseModel) -> None:
    class Halves(Fussy):
        records = (Text,)

        def prepare(self, config: Any, records: Sequence[Any], encoder: Any, base: Any) -> list[Any]:
            return [{"input_ids": [3, 4], "labels": [3, 4 if record.text else -100]} for record in records]

    goal = Goal(Halves(), ObjectiveConfig())
    dataset = Dataset("half.jsonl", "", "text", (Text("a", 1), Text("", 2)))
    side = Side.of(goal, dataset, encoder_of(base), base)
    assert side.rows == [{"input_ids": [3, 4], "labels": [-100, 4]}]  # nothing is in front of the first
    assert side.shortened == {"dropped": 1}
    with pytest.raises(
        AdapterHubError, match=r"half\.jsonl:2: nothing to learn: no token of its 1 rows is in the loss"
    ):
        Side.of(goal, dataset._replace(records=dataset.records[1:]), encoder_of(base), base)
