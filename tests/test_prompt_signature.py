"""Signatures tell prompts apart, are the same everywhere, and hold no prompt."""

from __future__ import annotations

import hashlib

import numpy as np
import pytest

from adapterhub import prompt_features, read_signature, sign_prompts
from adapterhub.errors import ConfigError
from adapterhub.prompt_signature import MAX_CHARACTERS, MAX_PROMPTS


def test_features_are_as_recorded_signatures_need_them() -> None:
    # Another digest means that recorded signatures can no longer be compared: VERSION must change then.
    signature = sign_prompts(["Where is my parcel?", "Wo bleibt mein Päckchen?", "荷物はどこですか"])
    assert hashlib.sha256(signature.encode()).hexdigest()[:16] == "33b6d362252159ac"
    assert len(signature) == 1371


def test_a_prompt_resembles_prompts_like_it_more_than_others() -> None:
    parcels = read_signature(sign_prompts(f"Where is parcel {number}?" for number in range(20)))
    near, far = prompt_features("where's my parcel"), prompt_features("Write a poem about autumn")
    assert parcels @ near > 0.4 > 0.1 > parcels @ far
    assert np.linalg.norm(parcels) == pytest.approx(1, abs=1e-6) == np.linalg.norm(near)


def test_prompts_count_once_and_a_repeated_word_counts_less_each_time() -> None:
    assert sign_prompts(["red", "red", "blue"]) == sign_prompts(["red", "blue"])
    both = prompt_features("red red red red blue")
    assert 1 < (both @ prompt_features("red")) / (both @ prompt_features("blue")) < 4


@pytest.mark.parametrize("prompt", ["", " \n", "?!", "\N{PILE OF POO}"])
def test_without_words_there_is_nothing_to_resemble(prompt: str) -> None:
    assert not prompt_features(prompt).any()
    assert sign_prompts([prompt]) == sign_prompts([]) == ""


def test_any_text_has_features_and_a_long_one_is_looked_at_up_to_a_limit() -> None:
    assert prompt_features("a").any()
    assert prompt_features("\ud800 lone surrogate").any()
    long = "word " * MAX_CHARACTERS
    assert np.array_equal(prompt_features(long), prompt_features(long[:MAX_CHARACTERS]))


def test_of_many_prompts_evenly_spaced_ones_are_looked_at() -> None:
    many = [str(number) for number in range(2 * MAX_PROMPTS - 1)]
    assert sign_prompts(many) == sign_prompts(many[::2]) != sign_prompts(many[1::2])


@pytest.mark.parametrize(
    "wrong", ["", "v1:", "v1:!", "v1:AAAA", "v0:" + "AQ" * 683 + "==", "v1:" + "A" * 1366 + "==", "v1:Ä" + "A" * 1365]
)
def test_what_is_no_signature_is_refused_saying_what_is_accepted(wrong: str) -> None:
    with pytest.raises(ConfigError, match="accepted: 'v1:' and 1024 int8 in base64"):
        read_signature(wrong)
