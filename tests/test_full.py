"""`--method full`: all of a base learns, and comes out as a base of its own; never as an adapter."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from click.testing import CliRunner
from training import encode, train_briefly
from transformers import AutoModelForCausalLM, AutoTokenizer

from adapterhub.base import BaseModel
from adapterhub.cli.main import cli
from adapterhub.data import read_dataset
from adapterhub.errors import ConfigError, CorruptAdapterError
from adapterhub.plugins import load_objectives
from adapterhub.store import Store
from adapterhub.train import TrainConfig, train
from adapterhub.train.response_loss import mean_loss


@pytest.fixture
def base(tiny_base: Path) -> BaseModel:
    return BaseModel.load(str(tiny_base), quantization="none", device="cpu")


@pytest.fixture
def data(tmp_path: Path) -> Path:
    path = tmp_path / "data.jsonl"
    path.write_text("".join(json.dumps({"prompt": f"{n}?", "completion": str(n)}) + "\n" for n in range(8)))
    return path


def test_a_model_folder_comes_of_it_and_the_base_is_given_back(base: BaseModel, tmp_path: Path) -> None:
    before = {name: tensor.clone() for name, tensor in base.model.state_dict().items()}
    places = {name: tensor.dtype for name, tensor in base.model.state_dict().items()}
    result = train_briefly(base, "full", tmp_path / "run" / "model", rate=3e-3)
    after = base.model.state_dict()
    assert {name: tensor.dtype for name, tensor in after.items()} == places
    assert all(torch.equal(after[name], tensor) for name, tensor in before.items())
    assert not any(parameter.requires_grad for parameter in base.model.parameters())
    assert all(parameter.grad is None for parameter in base.model.parameters())
    assert not base.model.training

    assert result.loss_before is not None
    assert result.loss_after is not None
    assert result.loss_after < 0.8 * result.loss_before
    record = result.model.provenance
    assert (record.method, record.base, record.parents) == ("full", base.record, ())
    assert record.forgetting.keys() == {"general_loss_base", "general_loss_adapter"}

    loaded = BaseModel.load(str(result.folder), quantization="none", device="cpu")
    assert loaded.record == result.model.base
    assert loaded.record.digest != base.record.digest
    dataset = read_dataset(tmp_path / "run" / "colors.jsonl")
    assert record.prompt_format is not None
    for model, tokenizer in (
        (loaded.model, loaded.tokenizer),
        (AutoModelForCausalLM.from_pretrained(result.folder), AutoTokenizer.from_pretrained(result.folder)),
    ):
        examples = encode(dataset, tokenizer, record.prompt_format, max_length=64)
        loss = mean_loss(model, examples, batch_size=8, device=loaded.device)
        assert loss == pytest.approx(result.loss_after, abs=1e-5)
    again = train_briefly(loaded, "lora", tmp_path / "next" / "out", rate=1e-2, max_steps=1)
    assert again.loss_before == pytest.approx(result.loss_after, abs=1e-5)


def test_it_is_no_adapter_to_the_store(base: BaseModel, tmp_path: Path) -> None:
    result = train_briefly(base, "full", tmp_path / "run" / "model", rate=1e-3, max_steps=1)
    with pytest.raises(CorruptAdapterError, match=r"no adapter_config\.json"):
        Store.default().publish(result.folder, "team/model")


def test_a_quantized_base_an_option_and_a_parent_are_refused_by_name(tiny_base: Path, tmp_path: Path) -> None:
    nf4 = BaseModel.load(str(tiny_base), quantization="nf4", device="cpu")
    with pytest.raises(ConfigError, match="full needs a base held as none, not 'nf4'"):
        train_briefly(nf4, "full", tmp_path / "a" / "model", rate=1e-3)
    base = BaseModel.load(str(tiny_base), quantization="none", device="cpu")
    with pytest.raises(ConfigError, match="method full: unknown option 'r'"):
        train_briefly(base, "full", tmp_path / "b" / "model", rate=1e-3, options={"r": 8})
    parent = train_briefly(base, "lora", tmp_path / "c" / "out", rate=1e-3, max_steps=1)
    ref = str(Store.default().publish(parent.folder, "parent"))
    with pytest.raises(ConfigError, match="init_from: method full has no adapter to go on with"):
        train_briefly(base, "full", tmp_path / "d" / "model", rate=1e-3, init_from=ref)


def test_an_objective_that_needs_an_adapter_refuses_it_by_name(
    tiny_base: Path, data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(type(load_objectives().get("sft")), "whole", False)
    config = TrainConfig(base=str(tiny_base), data=data, method="full")
    with pytest.raises(ConfigError, match="objective sft with method full: it needs an adapter on a frozen base"):
        train(config, tmp_path / "model")


def test_the_verb_writes_the_folder_and_nothing_to_the_store(tiny_base: Path, data: Path, tmp_path: Path) -> None:
    into = tmp_path / "model"
    words = ["train", "--method", "full", "--base", str(tiny_base), "--data", str(data), "--max-steps", "1", "--json"]
    done = CliRunner().invoke(cli, [*words, "--model-folder", str(into)])
    assert done.exit_code == 0, done.output
    report = json.loads(done.stdout)
    assert report["model"] == str(into)
    assert report["digest"] == BaseModel.load(str(into), quantization="none", device="cpu").record.digest
    assert "takes 16 bytes for each of" in done.stderr
    assert not Store.default().list()
    assert CliRunner().invoke(cli, [*words, "--model-folder", str(into)]).exit_code == 4


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("--method", "full", "--name", "x"), "--name: method full makes a model, which is no adapter"),
        (("--method", "full"), "--model-folder: missing; method full needs a new folder"),
        (("--name", "x", "--model-folder", "m"), "--model-folder: an adapter goes to the store, by --name"),
        ((), "missing option '--name'"),
    ],
)
def test_where_it_goes_is_said_for_what_it_is(
    words: tuple[str, ...], message: str, tiny_base: Path, data: Path
) -> None:
    done = CliRunner().invoke(cli, ["train", "--base", str(tiny_base), "--data", str(data), *words])
    assert done.exit_code == 2
    assert message in done.stderr
