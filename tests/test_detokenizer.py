"""Incremental detokenization equals decoding the whole, and never gives half a character."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers import AutoTokenizer, PreTrainedTokenizerFast

from adapterhub.engine.detokenizer import REPLACEMENT, Detokenizer

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

TEXT = "naïve café, 東京 — 👩‍👩‍👧 done"
WORDS = ["<unk>", "</s>", "▁", "▁the", "▁cat", "s"]


@pytest.fixture(scope="module")
def tokenizer(tiny_base: Path) -> PreTrainedTokenizerBase:
    """One id per byte."""
    loaded: PreTrainedTokenizerBase = AutoTokenizer.from_pretrained(tiny_base)
    return loaded


@pytest.fixture(scope="module")
def spaced_tokenizer() -> PreTrainedTokenizerBase:
    """Words that carry their space in front, and bytes for the rest, as SentencePiece has it."""
    from tokenizers import Tokenizer, decoders, models

    vocab = {word: i for i, word in enumerate([*WORDS, *(f"<0x{byte:02X}>" for byte in range(256))])}
    tokenizer = Tokenizer(models.BPE(vocab=vocab, merges=[], unk_token="<unk>", byte_fallback=True))
    tokenizer.decoder = decoders.Sequence(
        [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(" ", 1, 0)]
    )
    fast: PreTrainedTokenizerBase = PreTrainedTokenizerFast(  # type: ignore[no-untyped-call]
        tokenizer_object=tokenizer, eos_token="</s>", unk_token="<unk>"
    )
    return fast


def ids_of(tokenizer: PreTrainedTokenizerBase, tokens: list[str]) -> list[int]:
    ids = tokenizer.convert_tokens_to_ids(tokens)
    assert isinstance(ids, list)
    return ids


def pieces(tokenizer: PreTrainedTokenizerBase, ids: list[int], step: int = 1) -> list[str]:
    detokenizer = Detokenizer(tokenizer)
    given = [detokenizer.push(ids[start : start + step]) for start in range(0, len(ids), step)]
    return [*given, detokenizer.flush()]


@pytest.mark.parametrize("step", [1, 2, 3, 7])
def test_multi_byte_text_comes_in_whole_characters(tokenizer: PreTrainedTokenizerBase, step: int) -> None:
    given = pieces(tokenizer, tokenizer.encode(TEXT), step)
    assert "".join(given) == TEXT
    assert not any(REPLACEMENT in piece for piece in given)


def test_a_character_is_given_with_its_last_byte(tokenizer: PreTrainedTokenizerBase) -> None:
    assert pieces(tokenizer, tokenizer.encode("a東b")) == ["a", "", "", "東", "b", ""]


def test_what_never_becomes_a_character_is_given_in_the_end(tokenizer: PreTrainedTokenizerBase) -> None:
    ids = tokenizer.encode("ok👧")[:-1]
    assert "".join(pieces(tokenizer, ids)) == "ok" + REPLACEMENT


def test_special_tokens_are_skipped(tokenizer: PreTrainedTokenizerBase) -> None:
    ids = [0, *tokenizer.encode("東"), 1]
    assert "".join(pieces(tokenizer, ids)) == "東"


def test_spaces_between_words_are_kept(spaced_tokenizer: PreTrainedTokenizerBase) -> None:
    ids = ids_of(spaced_tokenizer, ["▁the", "▁cat", "s", "</s>", "▁", "▁the"])
    assert pieces(spaced_tokenizer, ids) == ["the", " cat", "s", "", " ", " the", ""]


@settings(max_examples=200, deadline=None)
@given(ids=st.lists(st.integers(0, 257), max_size=40), step=st.integers(1, 5))
def test_pieces_of_any_ids_join_to_the_decoded_whole(
    tokenizer: PreTrainedTokenizerBase, ids: list[int], step: int
) -> None:
    whole = tokenizer.decode(ids, skip_special_tokens=True, clean_up_tokenization_spaces=False)
    assert "".join(pieces(tokenizer, ids, step)) == whole


@settings(max_examples=200, deadline=None)
@given(parts=st.lists(st.sampled_from([*WORDS[1:], "é", "東", "👧"]), max_size=30), step=st.integers(1, 5))
def test_pieces_join_where_bytes_and_spaced_words_mix(
    spaced_tokenizer: PreTrainedTokenizerBase, parts: list[str], step: int
) -> None:
    tokens = [[part] if part in WORDS else [f"<0x{byte:02X}>" for byte in part.encode()] for part in parts]
    ids = ids_of(spaced_tokenizer, [token for part in tokens for token in part])
    whole = spaced_tokenizer.decode(ids, skip_special_tokens=True, clean_up_tokenization_spaces=False)
    assert "".join(pieces(spaced_tokenizer, ids, step)) == whole
