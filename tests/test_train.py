"""Training: the loss falls, the files are the plan's, and the base comes back as it was."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from peft import PeftModel
from torch import Tensor

from adapterhub.adapter import CONFIG_FILE, PROVENANCE_FILE, TENSORS_FILE, read_folder
from adapterhub.base import BaseModel
from adapterhub.encoder import IGNORED, Example
from adapterhub.errors import BaseNotFoundError, ConfigError, ConflictError, DataError, MethodNotFoundError
from adapterhub.general_text import GENERAL_TEXT, general_text_digest
from adapterhub.plugins import installed_methods
from adapterhub.prompt_signature import sign_prompts
from adapterhub.testing import save_tiny_llama
from adapterhub.train import TrainConfig, TrainResult, TrainStep, train
from adapterhub.train.examples import collate
from adapterhub.train.response_loss import mean_loss, summed_loss

METHODS: dict[str, tuple[dict[str, Any], float]] = {
    "lora": ({"target_modules": ["q_proj", "down_proj"]}, 1e-2),
    "bottleneck": ({"placement": "houlsby", "reduction_factor": 4}, 1e-2),
    "prompt_tuning": ({"num_virtual_tokens": 4}, 1e-1),
}
"""Options and learning rate of a short run of each."""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny base whose widths are multiples of nf4's block of 64."""
    return save_tiny_llama(tmp_path_factory.mktemp("tiny-64"), hidden=64)


@pytest.fixture(scope="module", params=["none", "nf4"])
def base(request: pytest.FixtureRequest, folder: Path) -> BaseModel:
    return BaseModel.load(str(folder), quantization=request.param, device="cpu")


@pytest.fixture
def data(tmp_path: Path) -> Path:
    path = tmp_path / "colors.jsonl"
    pairs = [{"prompt": f"{number}?", "completion": ("red", "blue")[number % 2]} for number in range(24)]
    path.write_text("".join(json.dumps(pair) + "\n" for pair in pairs))
    return path


def run(data: Path, into: Path, base: BaseModel, method: str = "lora", **settings: Any) -> TrainResult:
    options, rate = METHODS[method]
    values = {"learning_rate": rate, "epochs": 2, "options": options, **settings}
    config = TrainConfig.load({"base": base.record.id, "data": data, "method": method, **values}, where="test")
    return train(config, into, base=base)


def logits(model: Any, ids: list[int]) -> Tensor:
    with torch.no_grad():
        result: Tensor = model(input_ids=torch.tensor([ids])).logits
    return result


def weights(base: BaseModel) -> dict[str, Tensor]:
    return {name: tensor.clone() for name, tensor in base.model.state_dict().items()}


@pytest.mark.parametrize("method", METHODS)
def test_training_lowers_the_loss_and_saves_the_plans_tensors(
    base: BaseModel, data: Path, tmp_path: Path, method: str
) -> None:
    result = run(data, tmp_path / "out", base, method)
    assert result.loss_before is not None
    assert result.loss_after is not None
    assert result.loss_after < 0.9 * result.loss_before
    chosen = installed_methods().get(method)
    config = chosen.Config.load(METHODS[method][0], where="test")
    headers = read_folder(tmp_path / "out").tensors
    assert {key: header.shape for key, header in headers.items()} == chosen.plan(config, base.shape).shapes()
    assert {header.dtype for header in headers.values()} == {"F32"}


@pytest.mark.parametrize("method", METHODS)
def test_the_base_is_bit_equal_afterwards_and_trains_the_next_adapter_the_same(
    base: BaseModel, data: Path, tmp_path: Path, method: str
) -> None:
    before, config = weights(base), base.model.config.to_dict()
    first = run(data, tmp_path / "first", base, method, max_steps=2)
    after = base.model.state_dict()
    assert list(after) == list(before)
    assert all(torch.equal(after[name], tensor) for name, tensor in before.items())
    assert base.model.config.to_dict() == config
    assert not base.model.training
    assert not any(parameter.requires_grad for parameter in base.model.parameters())
    second = run(data, tmp_path / "second", base, method, max_steps=2)
    assert second.losses == first.losses
    assert second.adapter.files[TENSORS_FILE].read_bytes() == first.adapter.files[TENSORS_FILE].read_bytes()
    assert second.adapter.files[CONFIG_FILE].read_bytes() == first.adapter.files[CONFIG_FILE].read_bytes()


@pytest.mark.parametrize("method", METHODS)
def test_peft_loads_what_was_trained_and_agrees_on_the_validation_loss(
    base: BaseModel, data: Path, tmp_path: Path, method: str
) -> None:
    result = run(data, tmp_path / "out", base, method, validation=data)
    prompt_format = result.adapter.prompt_format
    assert prompt_format is not None
    examples = []
    for line in data.read_text().splitlines():
        pair = json.loads(line)
        prompt = prompt_format.encode_prompt(base.tokenizer, pair["prompt"])
        response = prompt_format.encode_response(base.tokenizer, pair["completion"])
        examples.append(Example(input_ids=prompt + response, labels=[IGNORED] * len(prompt) + response))
    bare = logits(base.model, examples[0]["input_ids"])
    loaded: Any = PeftModel.from_pretrained(base.model, tmp_path / "out")
    assert mean_loss(loaded, examples, batch_size=8, device=base.device) == pytest.approx(result.loss_after, abs=1e-6)
    assert (logits(loaded, examples[0]["input_ids"])[:, -bare.shape[1] :] - bare).abs().max() > 0.05
    if method != "prompt_tuning":
        loaded.unload()


def test_the_loss_is_the_models_own_mean_over_responses(base: BaseModel) -> None:
    examples = [
        Example(input_ids=[9, 8, 7, 6, 5], labels=[IGNORED, IGNORED, IGNORED, 6, 5]),
        Example(input_ids=[4, 3, 2], labels=[IGNORED, 3, 2]),
    ]
    batch = collate(examples)
    with torch.no_grad():
        wanted = float(base.model(**batch).loss)
        assert float(summed_loss(base.model, batch)) / 4 == pytest.approx(wanted, abs=1e-5)
    assert mean_loss(base.model, examples, batch_size=1, device=base.device) == pytest.approx(wanted, abs=1e-5)


def test_the_record_says_how_it_came_to_be_and_names_no_path(base: BaseModel, data: Path, tmp_path: Path) -> None:
    result = run(data, tmp_path / "out", base, max_steps=1, seed=7, system_prompt="Say a color.")
    record, prompt_format = result.adapter.provenance, result.adapter.prompt_format
    assert record is not None
    assert prompt_format is not None
    assert (record.method, record.base, record.quantization) == ("lora", base.record, base.quantization)
    assert (prompt_format.kind, prompt_format.closes_with) == ("chat", "</s>")
    assert prompt_format.system_prompt == "Say a color."
    assert (record.data["examples"], record.data["validation_examples"]) == (22, 2)
    assert (record.training["seed"], record.training["steps"], record.training["objective"]) == (7, 1, "sft")
    assert record.evaluations == {
        "validation_loss_before": result.loss_before,
        "validation_loss_start": pytest.approx(result.loss_before, abs=1e-6),
        "validation_loss_after": result.loss_after,
    }
    assert record.seeds == {"training": 7}
    assert record.versions.keys() >= {"adapterhub", "peft", "torch", "transformers"}
    assert result.adapter.config["base_model_name_or_path"] == base.record.id
    assert sorted(path.name for path in result.folder.iterdir()) == sorted((CONFIG_FILE, TENSORS_FILE, PROVENANCE_FILE))
    for file in (CONFIG_FILE, PROVENANCE_FILE):
        assert str(tmp_path.parent) not in (result.folder / file).read_text()


@pytest.mark.parametrize("method", METHODS)
def test_the_record_says_what_general_text_costs_with_and_without_the_adapter(
    base: BaseModel, data: Path, tmp_path: Path, method: str
) -> None:
    record = run(data, tmp_path / "out", base, method).adapter.provenance
    assert record is not None
    paragraphs = [base.tokenizer(paragraph)["input_ids"] for paragraph in GENERAL_TEXT]
    pieces = [torch.tensor([ids[start : start + 128]]) for ids in paragraphs for start in range(0, len(ids), 128)]
    with torch.no_grad():
        total = sum(float(base.model(ids, labels=ids).loss) * (ids.numel() - 1) for ids in pieces if ids.numel() > 1)
    tokens = sum(ids.numel() - 1 for ids in pieces)
    assert record.forgetting["general_loss_base"] == pytest.approx(total / tokens, abs=1e-4)
    assert abs(record.forgetting["general_loss_adapter"] - record.forgetting["general_loss_base"]) > 1e-3
    assert record.data["general_text"] == general_text_digest()


def test_every_step_is_reported_and_tokens_are_counted_without_pads(
    base: BaseModel, data: Path, tmp_path: Path
) -> None:
    seen: list[TrainStep] = []
    config = TrainConfig(base="given", data=data, prompt_format="raw", validation_share=0, epochs=1, batch_size=10)
    result = train(config, tmp_path / "out", base=base, progress=seen.append)
    assert [(step.step, step.total) for step in seen] == [(1, 3), (2, 3), (3, 3)]
    assert tuple(step.loss for step in seen) == result.losses
    assert result.tokens == sum(len(f"{number}?") + len(("red", "blue")[number % 2]) + 1 for number in range(24))
    assert (result.loss_before, result.loss_after) == (None, None)


def test_training_loads_the_base_it_names_unquantized_on_the_cpu(folder: Path, data: Path, tmp_path: Path) -> None:
    result = train(TrainConfig(base=str(folder), data=data, max_steps=1), tmp_path / "out")
    assert result.adapter.provenance is not None
    assert result.adapter.provenance.quantization == "nf4" if torch.cuda.is_available() else "none"
    assert result.adapter.base == BaseModel.load(str(folder), quantization="none").record


def test_what_is_wrong_is_named_before_the_base_is_loaded(folder: Path, data: Path, tmp_path: Path) -> None:
    def attempt(**changes: Any) -> None:
        train(TrainConfig.load({"base": str(folder), "data": data, **changes}, where="test"), tmp_path / "out")

    (folder / "model.safetensors").rename(folder / "hidden")
    try:
        with pytest.raises(MethodNotFoundError, match=r"unknown method 'lola'; did you mean 'lora'\? \(known: adalora"):
            attempt(method="lola")
        with pytest.raises(ConfigError, match=r"method lora: unknown option 'rank'.*known: alora_invocation_tokens, "):
            attempt(options={"rank": 8})
        with pytest.raises(ConfigError, match="method lora: r: Input should be less than or equal to 4096"):
            attempt(options={"r": 5000})
        with pytest.raises(ConfigError, match=r"target_modules: 'query' matches no linear module.*q_proj"):
            attempt(options={"target_modules": ["query"]})
        with pytest.raises(BaseNotFoundError):
            attempt(base=str(tmp_path / "nothing"))
        data.write_text('{"prompt": "a", "completion": ""}\n')
        with pytest.raises(DataError, match=r"colors\.jsonl:1: 'completion' is empty"):
            attempt()
    finally:
        (folder / "hidden").rename(folder / "model.safetensors")


def test_an_int8_base_and_another_quantization_than_asked_are_refused(folder: Path, data: Path, tmp_path: Path) -> None:
    int8 = BaseModel.load(str(folder), quantization="int8", device="cpu")
    with pytest.raises(ConfigError, match=r"no gradient passes an int8 base \(accepted: none, nf4\)"):
        run(data, tmp_path / "out", int8)
    floating = BaseModel.load(str(folder), quantization="none", device="cpu")
    with pytest.raises(ConfigError, match="'nf4' asked for, the given base is 'none'"):
        run(data, tmp_path / "out", floating, quantization="nf4")
    assert not (tmp_path / "out").exists()


def test_a_folder_with_something_in_it_is_never_overwritten(base: BaseModel, data: Path, tmp_path: Path) -> None:
    with pytest.raises(ConflictError, match="not empty"):
        run(data, tmp_path, base)


def test_a_loss_that_is_not_finite_names_the_learning_rate(base: BaseModel, data: Path, tmp_path: Path) -> None:
    before = weights(base)
    with pytest.raises(ConfigError, match=r"learning_rate: the loss is nan at step \d+ with 1e\+39; try a lower one"):
        run(data, tmp_path / "out", base, learning_rate=1e39)
    assert all(torch.equal(base.model.state_dict()[name], tensor) for name, tensor in before.items())
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(("settings", "signed"), [({}, True), ({"prompt_signature": False}, False)])
def test_what_the_prompts_look_like_is_recorded_unless_it_is_not_to_be(
    folder: Path, data: Path, tmp_path: Path, settings: dict[str, Any], signed: bool
) -> None:
    base = BaseModel.load(str(folder), quantization="none", device="cpu")
    run(data, tmp_path / "out", base, max_steps=1, validation_share=0, **settings)
    provenance = read_folder(tmp_path / "out").provenance
    assert provenance is not None
    prompts = [json.loads(line)["prompt"] for line in data.read_text().splitlines()]
    assert provenance.prompt_signature == (sign_prompts(prompts) if signed else "")
