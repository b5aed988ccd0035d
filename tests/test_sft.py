"""Supervised fine-tuning: pairs and conversations, over methods of every kind."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from objective_runs import METHODS, encoder_of, save_lines, train_to

from adapterhub import collate, summed_loss
from adapterhub.base import BaseModel
from adapterhub.encoder import IGNORED
from adapterhub.errors import ConfigError, DataError
from adapterhub.plugins import load_objectives
from adapterhub.records import Chat, Pair
from adapterhub.testing import save_tiny_llama
from adapterhub.train.bare_base import BareBase

COLORS = ("red", "blue")
TALKS = [
    {
        "messages": [
            {"role": "user", "content": f"{number}?"},
            {"role": "assistant", "content": COLORS[number % 2]},
            {"role": "user", "content": "And?"},
            {"role": "assistant", "content": COLORS[(number + 1) % 2]},
        ]
    }
    for number in range(12)
]


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


@pytest.fixture
def talks(tmp_path: Path) -> Path:
    return save_lines(tmp_path / "talks.jsonl", TALKS)


def rows(base: BaseModel, records: list[Any], turns: str = "all") -> list[Any]:
    objective = load_objectives().get("sft")
    options = objective.Config.load({"turns": turns}, where="test")
    return objective.prepare(options, records, encoder_of(base, "chat", max_length=256), BareBase(base))


@pytest.mark.parametrize("method", METHODS)
def test_it_lowers_the_loss_of_the_answers_with_every_kind_of_method(
    base: BaseModel, talks: Path, tmp_path: Path, method: str
) -> None:
    result = train_to("sft", base, talks, tmp_path / "out", method, epochs=6)
    assert result.loss_before is not None
    assert result.loss_after is not None
    assert result.loss_after < 0.9 * result.loss_before
    assert (record := result.adapter.provenance) is not None
    assert record.training["objective_options"] == {"turns": "all"}


def test_all_answers_or_the_last_are_in_the_loss(plain: BaseModel) -> None:
    talk = Chat(tuple(TALKS[0]["messages"]), (), 1)
    learned = [[label for label in row["labels"] if label != IGNORED] for row in rows(plain, [talk])]
    eos = plain.tokenizer.eos_token_id
    red, blue = (plain.tokenizer(color)["input_ids"] for color in COLORS)
    assert learned == [[*red, eos, *blue, eos]]
    (last,) = rows(plain, [talk], "last")
    assert [label for label in last["labels"] if label != IGNORED] == [*blue, eos]


def test_pairs_and_conversations_may_stand_side_by_side(plain: BaseModel) -> None:
    pair, talk = Pair("0?", "red", 1), Chat(tuple(TALKS[0]["messages"][:2]), (), 2)
    as_pair, as_talk = rows(plain, [pair, talk])
    assert as_pair == as_talk
    assert float(summed_loss(plain.model, collate([as_pair]))) > 0


@pytest.mark.parametrize(
    ("settings", "error", "message"),
    [
        (
            {"prompt_format": "raw"},
            DataError,
            r"talks\.jsonl:1: a conversation of several turns, a system turn or tools needs a chat template",
        ),
        (
            {"objective_options": {"turns": "first"}},
            ConfigError,
            "objective sft: turns: Input should be 'all' or 'last'",
        ),
        ({"max_length": 12}, DataError, r"talks\.jsonl:1: \d+ tokens, over max_length 12"),
        (
            {"max_length": 12, "overlong": "truncate"},
            DataError,
            r"talks\.jsonl:1: nothing to learn: all 12 rows are over 12 tokens, or their prompts",
        ),
        ({"max_length": 12, "overlong": "drop"}, DataError, r"nothing to learn: all 12 rows are over 12 tokens"),
    ],
)
def test_a_run_that_would_learn_nothing_is_refused_before_its_first_step(
    plain: BaseModel, talks: Path, tmp_path: Path, settings: dict[str, Any], error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message):
        train_to("sft", plain, talks, tmp_path / "out", "lora", **settings)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(("overlong", "counts"), [("truncate", (4, 2)), ("drop", (0, 6))])
def test_what_was_cut_or_left_out_is_in_the_record(
    plain: BaseModel, tmp_path: Path, overlong: str, counts: tuple[int, int]
) -> None:
    lines = [{"prompt": f"{number}?", "completion": "red"} for number in range(6)]
    lines += [{"prompt": f"{number}?", "completion": "a long one"} for number in range(4)]
    lines += [{"prompt": f"a long prompt {number}?", "completion": "red"} for number in range(2)]
    data = save_lines(tmp_path / "pairs.jsonl", lines)
    settings = {"prompt_format": "raw", "max_length": 8, "overlong": overlong, "validation": None, "epochs": 1}
    result = train_to("sft", plain, data, tmp_path / "out", "lora", validation_share=0, batch_size=1, **settings)
    assert (record := result.adapter.provenance) is not None
    assert (record.data.get("truncated", 0), record.data.get("dropped", 0)) == counts
    assert len(result.losses) == 12 - counts[1]
