"""How a prompt becomes token ids: the same in training and in serving."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from training import encode
from transformers import AutoTokenizer

from adapterhub.data import read_dataset
from adapterhub.encoder import IGNORED
from adapterhub.errors import ConfigError, InvalidInputError
from adapterhub.prompt_format import FormatKind, PromptFormat


@pytest.fixture
def tokenizer(tiny_base: Path) -> Any:
    return AutoTokenizer.from_pretrained(tiny_base)


@pytest.mark.parametrize(("kind", "system"), [("raw", None), ("chat", None), ("chat", "Be brief.")])
def test_training_and_serving_see_the_same_ids(
    tokenizer: Any, tmp_path: Path, kind: FormatKind, system: str | None
) -> None:
    path = tmp_path / "data.jsonl"
    path.write_text('{"prompt": "h\u00e9llo", "completion": "world"}\n', encoding="utf-8")
    prompt_format = PromptFormat.of(tokenizer, kind, system)
    (example,) = encode(read_dataset(path), tokenizer, prompt_format, max_length=512)
    served = prompt_format.encode_prompt(tokenizer, "h\u00e9llo")
    assert example["input_ids"][: len(served)] == served
    assert example["labels"][: len(served)] == [IGNORED] * len(served)
    assert example["labels"][len(served) :] == prompt_format.encode_response(tokenizer, "world")


def test_a_response_ends_with_the_closing_token(tokenizer: Any) -> None:
    prompt_format = PromptFormat.of(tokenizer, "raw")
    assert prompt_format.encode_response(tokenizer, "a")[-1] == tokenizer.eos_token_id
    assert prompt_format.closes_with == tokenizer.eos_token


def test_another_chat_template_is_noticed(tokenizer: Any) -> None:
    recorded = PromptFormat.of(tokenizer, "chat")
    tokenizer.chat_template += " "
    with pytest.raises(ConfigError, match="made with chat template"):
        recorded.check(tokenizer)


def test_a_base_without_a_template_takes_raw_only(tokenizer: Any) -> None:
    tokenizer.chat_template = None
    with pytest.raises(ConfigError, match="accepted: raw"):
        PromptFormat.of(tokenizer, "chat")


def test_a_template_that_refuses_a_turn_is_the_users_error(tokenizer: Any) -> None:
    tokenizer.chat_template = "{{ raise_exception('no system turn here') }}"
    with pytest.raises(InvalidInputError, match="no system turn here"):
        PromptFormat.of(tokenizer, "chat", "Be brief.").encode_prompt(tokenizer, "hello")


def test_a_system_prompt_needs_the_chat_format(tokenizer: Any) -> None:
    with pytest.raises(ConfigError, match="system_prompt needs the chat format"):
        PromptFormat.of(tokenizer, "raw", "Be brief.")
