"""Regular expressions of adapters mean what `re` makes of them, and none holds up whoever loads it."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from conftest import save_random_adapter
from hypothesis import given
from hypothesis import strategies as st

from adapterhub.adapter import read_folder
from adapterhub.base import BaseModel
from adapterhub.engine import Engine
from adapterhub.errors import UnsupportedAdapterError
from adapterhub.pattern import check_pattern, match_pattern
from adapterhub.plugins import installed_methods, understand
from adapterhub.select import by_pattern

CATASTROPHE = r"(.*?.*?)*[0-9]{4}"
"""`re` has not given it up on a module's name after minutes."""
NAME = "model.layers.11.self_attn.q_proj"
PARTS = ["q_proj", "model", r"\.", ".*", r"\d+", r"\w", "(", ")", "|", "+", "?", "*", "{2}", "{1,}", "[a-z]", "^", "$"]


@pytest.fixture(scope="module")
def base(tiny_base: Path) -> BaseModel:
    return BaseModel.load(str(tiny_base), quantization="none")


@pytest.mark.parametrize(
    ("method", "field", "values"),
    [
        ("lora", "target_modules", {"target_modules": CATASTROPHE}),
        ("lora", "exclude_modules", {"exclude_modules": CATASTROPHE}),
        ("lora", "modules_to_save", {"modules_to_save": [CATASTROPHE]}),
        ("lora", "rank_pattern", {"rank_pattern": {CATASTROPHE: 4}}),
        ("lora", "alpha_pattern", {"alpha_pattern": {CATASTROPHE: 4}}),
        (
            "lora",
            "layers_pattern",
            {"target_modules": ["q_proj"], "layers_to_transform": [1], "layers_pattern": CATASTROPHE},
        ),
        ("ia3", "feedforward_modules", {"feedforward_modules": CATASTROPHE}),
    ],
)
def test_an_expression_without_end_is_refused_by_name(
    base: BaseModel, tmp_path: Path, method: str, field: str, values: dict[str, Any]
) -> None:
    """Were it matched to its end, the test would run into its time limit."""
    made = replace(read_folder(save_random_adapter(tmp_path, method, base.shape)), digest="sha256:hostile")
    with (
        Engine(base, kv_tokens=64) as engine,
        pytest.raises(UnsupportedAdapterError, match=rf"{field}.*{re.escape(CATASTROPHE)}.* takes more than 0\.1 s"),
    ):
        engine.load_adapter(replace(made, config={**made.config, **values}))


@pytest.mark.parametrize(
    ("pattern", "reason"),
    [
        ("(", "missing"),
        ("q{e<=1}", "a { that is no number of repeats"),
        ("[[:alpha:]]+", "Possible nested set"),
        ("(?:" * 30 + "a" + ")+" * 30, "too many repeats in repeats"),
        ("(?:a{1000}){1000}", "too many repeats in repeats"),
        ("a{99999999999999999999}", "too many repeats"),
        ("a" * 5000, "5000 characters"),
    ],
)
def test_what_regex_would_read_otherwise_or_unroll_for_ever_is_refused(pattern: str, reason: str) -> None:
    with pytest.raises(ValueError, match=re.escape(reason)):
        check_pattern(pattern)


def test_expressions_that_are_each_fast_enough_are_refused_together(
    base: BaseModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A thousand of them may otherwise take minutes, each less than it may alone."""
    monkeypatch.setattr("adapterhub.pattern.SECONDS_TOGETHER", 0.001)
    made = read_folder(save_random_adapter(tmp_path, "lora", base.shape))
    patterns = {f"(together|{number})+": 4 for number in range(1000)}
    with pytest.raises(UnsupportedAdapterError, match=r"rank_pattern: .*all of them take more than 0\.001 s"):
        understand(replace(made, config={**made.config, "rank_pattern": patterns}), installed_methods())


def test_a_plain_pattern_is_passed_over_only_where_it_cannot_match() -> None:
    patterns = ["q_proj", "attn.q_proj", "11.self_attn", NAME, NAME.replace("layers", "l.y.rs"), "proj", "q.proj"]
    for pattern in patterns:
        expected = re.match(rf"(.*\.)?({pattern})$", NAME) is not None
        assert by_pattern({pattern: True}, NAME, False) == expected, pattern


@given(st.lists(st.sampled_from(PARTS), max_size=8).map("".join))
def test_an_accepted_expression_matches_what_re_matches(pattern: str) -> None:
    try:
        check_pattern(pattern)
    except ValueError:
        return
    for whole, own in ((False, re.match), (True, re.fullmatch)):
        found, expected = match_pattern(pattern, NAME, field_name="test", whole=whole), own(pattern, NAME)
        assert (found and found.span()) == (expected and expected.span())
