"""Distillation: the student comes to say what its teacher says, by the formula."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from conftest import save_random_adapter
from objective_runs import METHODS, encoder_of, save_lines, train_to
from torch import Tensor, nn
from transformers import AutoModelForCausalLM, Gemma2Config

from adapterhub import collate, learned_logits
from adapterhub.base import BaseModel
from adapterhub.encoder import Example
from adapterhub.errors import AdapterHubError, AdapterNotFoundError, ConfigError
from adapterhub.plugins import load_objectives
from adapterhub.records import Pair
from adapterhub.store import Store
from adapterhub.testing import save_tiny_llama, save_tokenizer
from adapterhub.train.bare_base import BareBase

PAIRS = [Pair(f"{number}?", ("red", "a dark blue")[number % 2], number) for number in range(1, 13)]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny base whose widths are multiples of nf4's block of 64."""
    return save_tiny_llama(tmp_path_factory.mktemp("tiny-64"), hidden=64)


@pytest.fixture(scope="module")
def other(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model of another size with the same vocabulary."""
    return save_tiny_llama(tmp_path_factory.mktemp("tiny-48"), seed=5, hidden=48, layers=2)


@pytest.fixture(scope="module", params=["none", "nf4"])
def base(request: pytest.FixtureRequest, folder: Path) -> BaseModel:
    return BaseModel.load(str(folder), quantization=request.param, device="cpu")


@pytest.fixture(scope="module")
def plain(folder: Path) -> BaseModel:
    return BaseModel.load(str(folder), quantization="none", device="cpu")


@pytest.fixture
def data(tmp_path: Path) -> Path:
    return save_lines(
        tmp_path / "pairs.jsonl", ({"prompt": pair.prompt, "completion": pair.completion} for pair in PAIRS)
    )


def publish(base: BaseModel, folder: Path, method: str = "lora", **options: Any) -> str:
    """A random adapter of the base, which changes a lot."""
    save_random_adapter(folder, method, base.shape, seed=3, scale=0.3, **options)
    Store.default().publish(folder, "team/teacher")
    return "team/teacher"


class Distilling:
    """The objective with rows of PAIRS, as far as they are ready for a step."""

    def __init__(self, base: BaseModel, **options: Any) -> None:
        self.objective: Any = load_objectives().get("distill")
        self.options = self.objective.Config.load(options, where="test")
        self.rows = self.objective.prepare(self.options, PAIRS, encoder_of(base), BareBase(base))

    @property
    def batch(self) -> dict[str, Tensor]:
        made: dict[str, Tensor] = self.objective.collate(self.options, self.rows)
        return made

    def loss(self, model: Any) -> Tensor:
        class Run:  # of what a run has, the objective asks for the model alone
            pass

        run: Any = Run()
        run.model = model
        found: Tensor = self.objective.loss(self.options, run, model, self.batch)
        return found


def formula(model: Any, teacher: Tensor, rows: list[Example], temperature: float, alpha: float) -> Tensor:
    """The loss written out, a token after the other."""
    student, tokens = learned_logits(model, collate(rows))
    total = torch.zeros(())
    for ours, theirs, token in zip(student, teacher, tokens, strict=True):
        p, q = (theirs / temperature).softmax(-1), (ours / temperature).softmax(-1)
        divergence = (p * (p.log() - q.log())).sum()
        total = total + (1 - alpha) * temperature**2 * divergence - alpha * ours.softmax(-1)[token].log()
    return total


@pytest.mark.parametrize(("temperature", "alpha"), [(1.0, 0.0), (3.0, 0.0), (2.0, 0.4), (2.0, 1.0)])
@pytest.mark.parametrize("by", ["adapter", "model"])
def test_the_loss_and_its_gradient_are_the_formulas(
    plain: BaseModel, other: Path, tmp_path: Path, by: str, temperature: float, alpha: float
) -> None:
    settings: dict[str, Any] = {"temperature": temperature, "alpha": alpha}
    if by == "adapter":
        ref = publish(plain, tmp_path / "teacher")
        distilling = Distilling(plain, teacher_adapter=ref, **settings)
        with BareBase(plain).adapted(ref) as adapted, torch.no_grad():
            teacher, _ = learned_logits(adapted, collate(distilling.rows))
    else:
        distilling = Distilling(plain, teacher=str(other), **settings)
        model: Any = AutoModelForCausalLM.from_pretrained(other)
        with torch.no_grad():
            teacher, _ = learned_logits(model.train(False), collate(distilling.rows))
    assert distilling.rows[0]["teacher"].shape[1] == (64 if by == "adapter" else 48)  # the hidden state, not the logits
    weight: Any = plain.model.get_submodule("model.layers.1.mlp.down_proj").weight
    found = []
    for of in (distilling.loss, lambda model: formula(model, teacher, distilling.rows, temperature, alpha)):
        weight.requires_grad_(True)
        loss = of(plain.model)
        found.append((loss.detach(), torch.autograd.grad(loss, weight)[0]))
        weight.requires_grad_(False)
    torch.testing.assert_close(found[0][0], found[1][0], atol=1e-3, rtol=1e-5)
    torch.testing.assert_close(found[0][1], found[1][1], atol=1e-4, rtol=1e-3)
    assert found[0][1].abs().max() > 1e-2


def test_a_student_that_is_its_teacher_has_nothing_to_learn(base: BaseModel, folder: Path, tmp_path: Path) -> None:
    ref = publish(base, tmp_path / "teacher")
    distilling = Distilling(base, teacher_adapter=ref, alpha=0)
    with BareBase(base).adapted(ref) as adapted:
        assert float(distilling.loss(adapted)) == pytest.approx(0, abs=1e-4)
    assert float(distilling.loss(base.model)) > 1
    if base.quantization == "none":
        assert float(Distilling(base, teacher=str(folder), alpha=0).loss(base.model)) == pytest.approx(0, abs=1e-4)


@pytest.mark.parametrize("options", [{"target_modules": ["lm_head"]}, {"modules_to_save": ["lm_head"]}])
def test_a_teacher_whose_head_has_an_adapter_is_read_by_its_logits(
    plain: BaseModel, tmp_path: Path, options: dict[str, Any]
) -> None:
    ref = publish(plain, tmp_path / "teacher", **{"target_modules": ["q_proj"], **options})
    distilling = Distilling(plain, teacher_adapter=ref, alpha=0)
    assert distilling.rows[0]["teacher"].shape[1] == 258
    with BareBase(plain).adapted(ref) as adapted:
        assert float(distilling.loss(adapted)) == pytest.approx(0, abs=1e-4)


@pytest.mark.parametrize("held", ["none", "int8", "nf4"])
def test_a_teacher_may_be_held_in_fewer_bits_and_answers_as_it_is_held(
    plain: BaseModel, folder: Path, held: str
) -> None:
    distilling = Distilling(plain, teacher=str(folder), quantization=held, alpha=0)
    model = BaseModel.load(str(folder), quantization=held, device="cpu").model  # type: ignore[arg-type]
    with torch.no_grad():
        assert float(distilling.loss(model)) == pytest.approx(0, abs=1e-3)


def test_a_head_with_something_behind_it_is_read_by_its_logits(tmp_path: Path) -> None:
    torch.manual_seed(0)
    config = Gemma2Config(
        vocab_size=258, hidden_size=32, intermediate_size=64, num_hidden_layers=2, num_attention_heads=4, head_dim=8,
        num_key_value_heads=2, final_logit_softcapping=2.0, initializer_range=0.2,
    )  # fmt: skip
    AutoModelForCausalLM.from_config(config).save_pretrained(tmp_path)  # type: ignore[no-untyped-call]
    save_tokenizer(tmp_path)
    capped = BaseModel.load(str(tmp_path), quantization="none", device="cpu")
    distilling = Distilling(capped, teacher=str(tmp_path), alpha=0)
    assert distilling.rows[0]["teacher"].shape[1] == 258
    with torch.no_grad():
        assert float(distilling.loss(capped.model)) == pytest.approx(0, abs=1e-4)


def test_a_head_that_is_trained_leaves_the_teachers_as_it_was(plain: BaseModel, tmp_path: Path) -> None:
    distilling = Distilling(plain, teacher_adapter=publish(plain, tmp_path / "teacher"), alpha=0)
    head: Any = plain.model.get_submodule("lm_head")
    before = head.weight.detach().clone()
    head.weight.requires_grad_(True)
    try:
        first = float(distilling.loss(plain.model).detach())
        head.weight.data[:9].add_(1.0)  # as an optimizer does, in place
        assert float(distilling.loss(plain.model).detach()) != pytest.approx(first, rel=1e-3)
        head.weight.data.copy_(before)
        assert float(distilling.loss(plain.model).detach()) == pytest.approx(first, rel=1e-5)
        head.weight.data[:9].add_(1.0)
        taught = distilling.objective._head(distilling.batch["teacher"])
        torch.testing.assert_close(taught, distilling.batch["teacher"] @ before.T)
    finally:
        head.weight.requires_grad_(False)
        head.weight.data.copy_(before)


@pytest.mark.parametrize("method", METHODS)
def test_the_student_approaches_the_base_with_another_adapter(
    base: BaseModel, data: Path, tmp_path: Path, method: str
) -> None:
    ref = publish(base, tmp_path / "teacher", "ia3")
    before = {name: tensor.clone() for name, tensor in base.model.state_dict().items()}
    options = {"teacher_adapter": ref, "alpha": 0, "temperature": 1}
    result = train_to(
        "distill", base, data, tmp_path / "out", method, objective_options=options, prompt_format="raw", epochs=5
    )
    assert result.loss_before is not None
    assert result.loss_after is not None
    assert result.loss_after < 0.9 * result.loss_before
    assert all(torch.equal(base.model.state_dict()[name], tensor) for name, tensor in before.items())
    record = result.adapter.provenance
    assert record is not None
    assert record.training["objective_options"]["teacher_adapter"] == str(Store.default().pin(ref))


def test_the_student_approaches_another_model_and_the_record_names_it_without_a_path(
    plain: BaseModel, other: Path, data: Path, tmp_path: Path
) -> None:
    options = {"teacher": str(other), "alpha": 0.0}
    result = train_to("distill", plain, data, tmp_path / "out", "lora", objective_options=options, epochs=6)
    assert result.loss_before is not None
    assert result.loss_after is not None
    assert result.loss_after < 0.8 * result.loss_before
    assert (record := result.adapter.provenance) is not None
    assert record.training["objective_options"]["teacher"]["id"] == other.name
    assert record.training["objective_options"]["teacher"]["digest"].startswith("sha256:")
    assert str(other) not in json.dumps(record.model_dump())


def test_a_teacher_of_another_vocabulary_is_refused_before_its_weights_are_read(
    plain: BaseModel, data: Path, tmp_path: Path
) -> None:
    save_tiny_llama(tmp_path / "swapped", hidden=48)
    tokenizer = json.loads((tmp_path / "swapped" / "tokenizer.json").read_text())
    vocab = tokenizer["model"]["vocab"]
    vocab["a"], vocab["b"] = vocab["b"], vocab["a"]
    (tmp_path / "swapped" / "tokenizer.json").write_text(json.dumps(tokenizer))
    (tmp_path / "swapped" / "model.safetensors").unlink()
    with pytest.raises(ConfigError) as refused:
        train_to(
            "distill", plain, data, tmp_path / "out", "lora", objective_options={"teacher": str(tmp_path / "swapped")}
        )
    assert str(refused.value) == (
        f"teacher: {tmp_path / 'swapped'} has another vocabulary: 258 tokens, the base's 258; "
        f"'a' is {vocab['a']} there and is {vocab['b']} here"
    )
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({}, ConfigError, "give either teacher or teacher_adapter"),
        ({"teacher": "x", "teacher_adapter": "y"}, ConfigError, "give either teacher or teacher_adapter"),
        ({"teacher_adapter": "y", "quantization": "nf4"}, ConfigError, "quantization is of a teacher that is loaded"),
        ({"teacher_adapter": "team/none"}, AdapterNotFoundError, "team/none"),
        ({"teacher": "x", "temperature": 0}, ConfigError, "temperature: Input should be greater than 0"),
        ({"teacher": "./no-such-model"}, AdapterHubError, "no base model './no-such-model'"),
    ],
)
def test_a_wrong_teacher_is_named(
    plain: BaseModel, data: Path, tmp_path: Path, options: dict[str, Any], error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message):
        train_to("distill", plain, data, tmp_path / "out", "lora", objective_options=options)


def test_a_row_that_the_teacher_has_no_positions_for_is_refused(plain: BaseModel, tmp_path: Path) -> None:
    save_tiny_llama(tmp_path / "short", hidden=48)
    config = json.loads((tmp_path / "short" / "config.json").read_text())
    (tmp_path / "short" / "config.json").write_text(json.dumps({**config, "max_position_embeddings": 8}))
    with pytest.raises(ConfigError, match=r"teacher: .*short has 8 positions, and a row has 15 tokens"):
        Distilling(plain, teacher=str(tmp_path / "short"))


def test_a_wider_table_of_the_teacher_counts_as_far_as_there_are_tokens(plain: BaseModel, tmp_path: Path) -> None:
    save_tiny_llama(tmp_path / "padded", hidden=48)
    model: Any = AutoModelForCausalLM.from_pretrained(tmp_path / "padded")
    model.resize_token_embeddings(264)
    model.save_pretrained(tmp_path / "padded")
    distilling = Distilling(plain, teacher=str(tmp_path / "padded"), alpha=0)
    with torch.no_grad():
        teacher, _ = learned_logits(model.train(False), collate(distilling.rows))
        wanted = formula(plain.model, teacher[:, :258], distilling.rows, 2.0, 0.0)
        torch.testing.assert_close(distilling.loss(plain.model), wanted, atol=1e-3, rtol=1e-5)
    assert isinstance(model.get_output_embeddings(), nn.Linear)
