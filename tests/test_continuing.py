"""`--init-from`: an adapter of the store is trained on from where it is, as what it is, and its record says so."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from conftest import save_random_adapter
from lora_cases import PEFT_SAYS, save_bare
from safetensors.torch import load_file, save_file
from training import train_briefly

from adapterhub.adapter import PROVENANCE_FILE, TENSORS_FILE
from adapterhub.base import BaseModel
from adapterhub.errors import BaseMismatchError, ConfigError, UnsupportedAdapterError
from adapterhub.store import Store
from adapterhub.train import TrainConfig, TrainResult
from adapterhub.train.attach import attached
from adapterhub.train.job import TrainJob

pytestmark = PEFT_SAYS


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("bases")
    return {family: save_bare(family, folder / family) for family in ("llama", "tied", "gpt2")}


@pytest.fixture(scope="module")
def bases(folders: dict[str, Path]) -> dict[str, BaseModel]:
    return {name: BaseModel.load(str(path), quantization="none", device="cpu") for name, path in folders.items()}


@pytest.fixture(scope="module")
def nf4(folders: dict[str, Path]) -> BaseModel:
    return BaseModel.load(str(folders["llama"]), quantization="nf4", device="cpu")


def published(result: TrainResult) -> str:
    return str(Store.default().publish(result.folder, "parent"))


def start(ref: str, base: BaseModel, tmp_path: Path, method: str | None = None, **settings: Any) -> TrainResult:
    return train_briefly(base, method, tmp_path / "next" / "out", rate=1e-3, init_from=ref, max_steps=1, **settings)


@pytest.fixture
def parent(bases: dict[str, BaseModel], tmp_path: Path) -> str:
    return published(
        train_briefly(bases["llama"], "lora", tmp_path / "first" / "out", rate=1e-2, max_steps=2, options={"r": 4})
    )


@pytest.mark.parametrize(
    ("method", "options", "message"),
    [
        ("ia3", {}, "method: 'ia3' is not that of parent:latest, which is lora and stays so"),
        (None, {"r": 8}, "r: 8 is not that of parent:latest, which has 4 and stays so"),
        (None, {"init_lora_weights": "pissa"}, "init_lora_weights: 'pissa' is not that of parent:latest"),
        (None, {"rank": 4}, "method lora: unknown option 'rank'"),
    ],
)
def test_another_method_or_option_is_refused_by_name(
    method: str | None, options: dict[str, Any], message: str, parent: str, bases: dict[str, BaseModel], tmp_path: Path
) -> None:
    with pytest.raises(ConfigError, match=message):
        start(parent, bases["llama"], tmp_path, method, options=options)


def test_its_own_method_options_and_a_preset_of_it_may_be_said(
    parent: str, bases: dict[str, BaseModel], nf4: BaseModel, tmp_path: Path
) -> None:
    start(parent, bases["llama"], tmp_path / "a", "lora", options={"r": 4})
    provenance = start(parent, nf4, tmp_path / "b", "qlora").adapter.provenance
    assert provenance is not None
    assert provenance.training["preset"] == "qlora"
    assert "init_from" not in provenance.training


def test_the_preset_and_the_quantization_are_the_parents(
    nf4: BaseModel, folders: dict[str, Path], tmp_path: Path
) -> None:
    ref = published(train_briefly(nf4, "qlora", tmp_path / "first" / "out", rate=1e-2, max_steps=1))
    data = tmp_path / "first" / "colors.jsonl"
    config = TrainConfig(base=str(folders["llama"]), data=data, init_from=ref)
    job = TrainJob.prepare(config, None)
    assert (job.preset.name, job.base.quantization) == ("qlora", "nf4")


def test_the_prompts_are_the_parents_unless_others_are_asked_for(
    parent: str, bases: dict[str, BaseModel], tmp_path: Path
) -> None:
    base, data = bases["llama"], tmp_path / "first" / "colors.jsonl"
    assert base.tokenizer.chat_template, "a chat by default"
    usual = TrainConfig(base="", data=data, init_from=parent)
    assert TrainJob.prepare(usual, base).prompt_format.kind == "raw"
    asked = TrainJob.prepare(usual.model_copy(update={"prompt_format": "chat"}), base).prompt_format
    assert asked.kind == "chat"
    with pytest.raises(ConfigError, match="system_prompt needs the chat format"):
        TrainJob.prepare(usual.model_copy(update={"system_prompt": "Be brief."}), base)


def test_another_base_is_refused(parent: str, bases: dict[str, BaseModel], tiny_base: Path, tmp_path: Path) -> None:
    other = save_bare("llama", tmp_path / "other")
    weights = load_file(other / "model.safetensors")
    save_file({name: tensor + 1 for name, tensor in weights.items()}, other / "model.safetensors", {"format": "pt"})
    base = BaseModel.load(str(other), quantization="none", device="cpu")
    with pytest.raises(BaseMismatchError, match="was made on llama"):
        start(parent, base, tmp_path)
    smaller = BaseModel.load(str(tiny_base), quantization="none", device="cpu")
    with pytest.raises(BaseMismatchError, match="does not fit base"):
        start(parent, smaller, tmp_path)


def test_a_method_that_is_only_served_is_refused_with_its_reason(bases: dict[str, BaseModel], tmp_path: Path) -> None:
    folder = save_random_adapter(tmp_path / "a", "multitask_prompt_tuning", bases["llama"].shape)
    ref = str(Store.default().publish(folder, "several"))
    train_briefly(bases["llama"], "lora", tmp_path / "first" / "out", rate=1e-2, max_steps=1)
    with pytest.raises(ConfigError, match="multitask_prompt_tuning is served, not trained here"):
        start(ref, bases["llama"], tmp_path)


def test_an_adapter_of_unknown_origin_goes_on_and_a_copy_of_the_bases_table_is_no_tensor_of_it(
    bases: dict[str, BaseModel], tmp_path: Path
) -> None:
    base, options = bases["tied"], {"target_modules": ["embed_tokens", "q_proj"]}
    first = train_briefly(base, "lora", tmp_path / "first" / "out", rate=1e-2, max_steps=2, options=options)
    (first.folder / PROVENANCE_FILE).unlink()
    tensors, key = load_file(first.folder / TENSORS_FILE), "base_model.model.model.embed_tokens.base_layer.weight"
    for shift, name in ((0.0, "same"), (1.0, "other")):
        table = base.weights.weight("model.embed_tokens") + shift
        save_file(tensors | {key: table}, first.folder / TENSORS_FILE, {"format": "pt"})
        Store.default().publish(first.folder, name)
    child = start("same", base, tmp_path)
    assert child.adapter.provenance is not None
    assert child.adapter.provenance.parents[0].startswith("same:latest@sha256:")
    assert child.adapter.provenance.evaluations["validation_loss_start"] == pytest.approx(first.loss_after, abs=1e-6)
    with pytest.raises(UnsupportedAdapterError, match=r"base_layer\.weight is no part of what trains"):
        start("other", base, tmp_path / "again")


def test_adalora_goes_on_with_the_ranks_that_are_left(bases: dict[str, BaseModel], tmp_path: Path) -> None:
    base = bases["llama"]
    first = train_briefly(base, "adalora", tmp_path / "first" / "out", rate=1e-2, options={"orth_reg_weight": 0.1})
    left = {key: tensor.shape for key, tensor in first.adapter.tensors.items()}
    assert len({shape[0] for key, shape in left.items() if key.endswith("lora_E")}) > 1, "some modules kept more"
    child = train_briefly(base, None, tmp_path / "next" / "out", rate=1e-2, init_from=published(first))
    assert {key: tensor.shape for key, tensor in child.adapter.tensors.items()} == left
    assert child.adapter.config["orth_reg_weight"] == 0.1
    again = start(str(Store.default().publish(child.folder, "child")), base, tmp_path / "third")
    assert again.adapter.provenance is not None
    assert again.adapter.provenance.evaluations["validation_loss_start"] == pytest.approx(child.loss_after, abs=1e-6)


def test_what_learns_is_what_learns_of_a_fresh_one(bases: dict[str, BaseModel], tmp_path: Path) -> None:
    base, options = bases["gpt2"], {"target_modules": ["c_attn", "wpe"], "bias": "lora_only"}
    first = train_briefly(base, "lora", tmp_path / "first" / "out", rate=1e-2, max_steps=2, options=options)
    data = tmp_path / "first" / "colors.jsonl"
    fresh = TrainConfig(base="", data=data, method="lora", options=options)
    learn = []
    for config in (fresh, TrainConfig(base="", data=data, init_from=published(first))):
        with attached(TrainJob.prepare(config, base)) as model:
            learn.append({name: each.shape for name, each in model.named_parameters() if each.requires_grad})
    assert learn[0] == learn[1]
