"""A generation's text ends before its first stop string, and nothing of one is ever given."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st
from transformers import AutoTokenizer

from adapterhub.engine.stop_strings import StopStrings

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase


@pytest.fixture(scope="module")
def tokenizer(tiny_base: Path) -> PreTrainedTokenizerBase:
    """One id per byte."""
    loaded: PreTrainedTokenizerBase = AutoTokenizer.from_pretrained(tiny_base)
    return loaded


def pieces(tokenizer: PreTrainedTokenizerBase, text: str, stop: list[str]) -> list[str]:
    """What is given with each token, until a stop string or the end."""
    strings = StopStrings(tokenizer, stop)
    given_texts = []
    for token in tokenizer.encode(text):
        given_texts.append(strings.push(token))
        if strings.met:
            break
    return [*given_texts, strings.flush()]


def cut(text: str, stop: list[str]) -> str:
    """The slow truth: the shortest beginning of the text that has a stop string, up to that string."""
    for end in range(len(text) + 1):
        found = [index for each in stop if (index := text[:end].find(each)) >= 0]
        if found:
            return text[: min(found)]
    return text


def test_what_may_begin_a_stop_string_is_held_until_it_is_decided(tokenizer: PreTrainedTokenizerBase) -> None:
    assert pieces(tokenizer, "a\nb\n\nc", ["\n\n"]) == ["a", "", "\nb", "", "", ""]


def test_what_was_held_is_given_when_the_text_ends(tokenizer: PreTrainedTokenizerBase) -> None:
    assert pieces(tokenizer, "so\n", ["\n\n"]) == ["s", "o", "", "\n"]


def test_a_stop_string_of_several_bytes_a_character(tokenizer: PreTrainedTokenizerBase) -> None:
    assert "".join(pieces(tokenizer, "naïve 東京, done", ["京"])) == "naïve 東"


ALPHABET = st.sampled_from(["a", "b", "é", "東"])


@given(
    text=st.lists(ALPHABET, max_size=30).map("".join),
    stop=st.lists(st.lists(ALPHABET, min_size=1, max_size=5).map("".join), min_size=1, max_size=4),
)
def test_pieces_join_to_the_text_before_the_first(
    tokenizer: PreTrainedTokenizerBase, text: str, stop: list[str]
) -> None:
    assert "".join(pieces(tokenizer, text, stop)) == cut(text, stop)
