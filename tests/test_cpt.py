"""Continued pretraining: every token of plain text is learned, and no document sees another."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import torch
from objective_runs import METHODS, encoder_of, save_lines, train_to
from test_families import FAMILIES
from torch import Tensor
from transformers import AutoModelForCausalLM

from adapterhub import collate, summed_loss
from adapterhub.base import BaseModel
from adapterhub.encoder import IGNORED, Example
from adapterhub.errors import ConfigError, DataError
from adapterhub.plugins import installed_methods, load_objectives
from adapterhub.records import Text
from adapterhub.testing import save_tiny_llama
from adapterhub.train import TrainConfig, train
from adapterhub.train.bare_base import BareBase

WORDS = ("rain", "a thaw in the hills", "low tide", "wind from the north-west at dusk", "fog", "hail and then the sun")
TEXTS = [Text(f"{word}, {number}.", number) for number, word in enumerate(WORDS * 3, start=1)]

NOT_KEPT_APART = {"gpt-oss-sinks"}
"""Families whose masks transformers 5.23 makes without the positions: packed documents would see each other."""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny base whose widths are multiples of nf4's block of 64."""
    return save_tiny_llama(tmp_path_factory.mktemp("tiny-64"), hidden=64)


@pytest.fixture(scope="module", params=["none", "nf4"])
def base(request: pytest.FixtureRequest, folder: Path) -> BaseModel:
    return BaseModel.load(str(folder), quantization=request.param, device="cpu")


@pytest.fixture(scope="module")
def plain(folder: Path) -> BaseModel:
    return BaseModel.load(str(folder), quantization="none", device="cpu")


class Packing:
    """The rows of the objective on a base, and its batches."""

    def __init__(self, base: BaseModel, *, pack: bool = True, **settings: Any) -> None:
        self.objective: Any = load_objectives().get("cpt")
        self.options = self.objective.Config.load({"pack": pack}, where="test")
        encoder = encoder_of(base, **settings)
        self.rows = self.objective.prepare(self.options, TEXTS, encoder, BareBase(base))

    def batch(self) -> dict[str, Tensor]:
        made: dict[str, Tensor] = self.objective.collate(self.options, self.rows)
        return made


def assert_packed_is_alone(model: Any, packed: Packing, alone: Packing) -> None:
    """The mean loss of packed rows is that of the documents, and so is its gradient."""
    learned = [sum(label != IGNORED for label in row["labels"]) for row in (*packed.rows, *alone.rows)]
    count = sum(learned[: len(packed.rows)])
    assert count == sum(learned[len(packed.rows) :])
    losses, gradients = [], []
    weight = model.get_input_embeddings().weight
    for batches in ([packed.batch()], [collate([row]) for row in alone.rows]):
        weight.requires_grad_(True)
        loss: Any = sum(summed_loss(model, batch) for batch in batches) / count
        losses.append(float(loss.detach()))
        gradients.append(torch.autograd.grad(loss, weight)[0])
        weight.requires_grad_(False)
    assert losses[0] == pytest.approx(losses[1], abs=1e-5)
    torch.testing.assert_close(gradients[0], gradients[1], atol=1e-5, rtol=1e-4)
    assert gradients[0].abs().max() > 1e-3


@pytest.mark.parametrize("attention", ["sdpa", "eager"])
@pytest.mark.parametrize("family", FAMILIES)
def test_the_loss_of_packed_rows_is_the_mean_of_the_documents_alone(
    family: str, attention: str, tmp_path: Path
) -> None:
    torch.manual_seed(0)
    AutoModelForCausalLM.from_config(FAMILIES[family]).save_pretrained(tmp_path)  # type: ignore[no-untyped-call]
    save_tiny_llama(tmp_path / "llama")
    for name in ("tokenizer.json", "tokenizer_config.json"):
        (tmp_path / "llama" / name).rename(tmp_path / name)
    base = BaseModel.load(str(tmp_path), quantization="none", device="cpu")
    try:
        base.model.set_attn_implementation(attention)
    except ValueError:
        assert attention == "sdpa"
        return
    packed, alone = Packing(base), Packing(base, pack=False)
    if family in NOT_KEPT_APART:
        assert packed.rows == alone.rows
    else:
        assert len(packed.rows) < len(alone.rows) / 2
    assert_packed_is_alone(base.model, packed, alone)


def test_a_row_that_leaks_would_be_noticed(plain: BaseModel) -> None:
    packed, alone = Packing(plain), Packing(plain, pack=False)
    batch = packed.batch()
    del batch["position_ids"]
    means = [
        float(sum(summed_loss(plain.model, batch) for batch in batches)) / len(TEXTS)
        for batches in ([batch], [collate([row]) for row in alone.rows])
    ]
    assert abs(means[0] - means[1]) > 1e-2


def test_a_base_that_does_not_keep_documents_apart_gets_one_in_each_row(
    plain: BaseModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    forward = plain.model.forward
    assert len(Packing(plain).rows) < len(TEXTS)
    monkeypatch.setattr(plain.model, "forward", lambda input_ids, use_cache: forward(input_ids=input_ids))
    assert len(Packing(plain).rows) == len(TEXTS)

    def leaks(input_ids: Tensor, position_ids: Tensor, use_cache: bool) -> Any:
        return forward(input_ids=input_ids, attention_mask=torch.ones_like(input_ids), position_ids=position_ids)

    monkeypatch.setattr(plain.model, "forward", leaks)
    assert len(Packing(plain).rows) == len(TEXTS)


def test_every_document_is_whole_in_one_row_and_closed(plain: BaseModel) -> None:
    eos = plain.tokenizer.eos_token_id
    rows = Packing(plain).rows
    found = []
    for row in rows:
        assert len(row["input_ids"]) == sum(row["documents"]) <= 64
        ids = iter(row["input_ids"])
        found += [tuple(next(ids) for _ in range(length)) for length in row["documents"]]
    assert sorted(found) == sorted((*plain.tokenizer(text.text)["input_ids"], eos) for text in TEXTS)
    full = sum(map(sum, (row["documents"] for row in rows)))
    assert len(rows) <= -(-full // 64) + 1


def test_positions_start_again_at_each_document_and_at_the_pads(plain: BaseModel) -> None:
    objective: Any = load_objectives().get("cpt")
    rows = [
        {"input_ids": [5, 6, 7, 8, 9], "labels": [IGNORED, 6, 7, IGNORED, 9], "documents": [3, 2]},
        {"input_ids": [5, 6], "labels": [IGNORED, 6], "documents": [2]},
    ]
    batch = objective.collate(objective.Config(), rows)
    assert batch["position_ids"].tolist() == [[0, 1, 2, 0, 1], [0, 1, 0, 1, 2]]
    assert batch["attention_mask"].tolist() == [[1] * 5, [1, 1, 0, 0, 0]]


@pytest.mark.parametrize("opening", [False, True])
def test_a_long_document_is_cut_and_each_of_its_tokens_is_learned_once(plain: BaseModel, opening: bool) -> None:
    tokenizer = plain.tokenizer
    before, after = ([tokenizer.bos_token_id], 1) if opening else ([], 0)
    long = Text("".join(chr(ord("a") + number % 26) for number in range(100)), 1)
    encoder = encoder_of(plain, max_length=16)
    if opening:
        from tokenizers.processors import TemplateProcessing

        tokenizer.backend_tokenizer.post_processor = TemplateProcessing(
            single="<s> $A", special_tokens=[("<s>", tokenizer.bos_token_id)]
        )
    try:
        objective = load_objectives().get("cpt")
        options = objective.Config.load({"pack": False}, where="test")
        rows: list[Example] = objective.prepare(options, [long], encoder, BareBase(plain))
        whole = [*tokenizer(long.text)["input_ids"], tokenizer.eos_token_id]
    finally:
        if opening:
            tokenizer.backend_tokenizer.post_processor = None
    learned = [label for row in rows for label in row["labels"] if label != IGNORED]
    assert learned == whole[1:]
    assert all(len(row["input_ids"]) <= 16 for row in rows)
    for row, next_row in pairwise(rows):
        assert next_row["input_ids"][: after + 1] == [*before, row["input_ids"][-1]]
        assert next_row["labels"][: after + 1] == [IGNORED] * (after + 1)


@pytest.mark.parametrize("method", METHODS)
def test_it_lowers_the_loss_of_text_with_every_kind_of_method(base: BaseModel, tmp_path: Path, method: str) -> None:
    data = save_lines(tmp_path / "texts.jsonl", ({"text": text.text} for text in TEXTS))
    result = train_to("cpt", base, data, tmp_path / "out", method, max_length=64, epochs=4, batch_size=3)
    assert result.loss_before is not None
    assert result.loss_after is not None
    assert result.loss_after < 0.95 * result.loss_before
    record = result.adapter.provenance
    assert record is not None
    assert record.training["objective"] == "cpt"
    assert record.prompt_format is not None
    assert record.prompt_format.kind == "raw"
    rows = len(TEXTS) if "tuning" in method else len(Packing(base).rows)
    assert record.training["steps"] == 4 * -(-rows // 3)


def test_the_validation_loss_is_that_of_the_documents_whatever_the_rows(plain: BaseModel, tmp_path: Path) -> None:
    data = save_lines(tmp_path / "texts.jsonl", ({"text": text.text} for text in TEXTS))
    packed, alone = (
        train_to("cpt", plain, data, tmp_path / str(pack), "lora", max_steps=1, objective_options={"pack": pack})
        for pack in (True, False)
    )
    assert packed.loss_before == pytest.approx(alone.loss_before, abs=1e-5)
    virtual = train_to("cpt", plain, data, tmp_path / "virtual", "prompt_tuning", max_steps=1)
    assert virtual.loss_before == pytest.approx(alone.loss_before, abs=1e-5)


def test_adalora_plans_for_the_steps_of_packed_rows(plain: BaseModel, tmp_path: Path) -> None:
    data = save_lines(tmp_path / "texts.jsonl", ({"text": text.text} for text in TEXTS))
    values = {"base": "tiny", "data": data, "validation_share": 0, "method": "adalora", "objective": "cpt"}
    result = train(TrainConfig.load({**values, "epochs": 8, "batch_size": 1}, where="test"), tmp_path / "a", base=plain)
    assert result.adapter.config["total_step"] == len(result.losses)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"prompt_format": "chat"}, r"prompt_format: objective cpt trains raw prompts, not chat ones"),
        ({"system_prompt": "Be brief."}, r"system_prompt needs the chat format"),
        (
            {"options": {"alora_invocation_tokens": [5, 6]}},
            r"objective cpt with method lora: it acts behind its invocation tokens, and plain text holds none",
        ),
    ],
)
def test_what_plain_text_has_no_place_for_is_refused(
    plain: BaseModel, tmp_path: Path, settings: dict[str, Any], message: str
) -> None:
    data = save_lines(tmp_path / "texts.jsonl", ({"text": text.text} for text in TEXTS))
    with pytest.raises(ConfigError, match=message):
        train_to("cpt", plain, data, tmp_path / "out", "lora", **settings)


def test_pairs_are_refused_by_name(plain: BaseModel, tmp_path: Path) -> None:
    data = save_lines(tmp_path / "pairs.jsonl", ({"prompt": "a", "completion": "b"} for _ in range(4)))
    with pytest.raises(DataError, match=r"pairs\.jsonl:1: objective cpt learns from plain text, not from prompts"):
        train_to("cpt", plain, data, tmp_path / "out", "lora")


def test_methods_are_those_that_are_installed() -> None:
    assert METHODS.keys() <= installed_methods().by_name.keys()
