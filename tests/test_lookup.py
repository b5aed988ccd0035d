"""Guessed tokens change how many steps an answer takes, and nothing of the answer."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from cases import Case, tiny_case

from adapterhub.engine import Completion, Engine, EngineStats, Request, Sampling
from adapterhub.engine.lookup import Lookup
from adapterhub.testing.equality import recording_engine, run


@pytest.fixture(scope="module")
def case(tiny_base: Path, tmp_path_factory: pytest.TempPathFactory) -> Case:
    return tiny_case(tiny_base, tmp_path_factory.mktemp("lookup"), "int8")


@pytest.fixture(scope="module")
def looping(case: Case) -> list[Request]:
    """Requests, of several methods, whose prompts go round in circles, as their answers will."""
    begun = [asking(case.requests[index], 0, max_new_tokens=40) for index in (13, 25, 27, 14)]
    answers, _ = served(case, begun)
    return [longer(*each) for each in zip(begun, answers, strict=True)]


def asking(request: Request, guesses: int, **options: Any) -> Request:
    changed = {"max_new_tokens": 40, "ignore_eos": True, **options, "lookup_tokens": guesses}
    return replace(request, sampling=Sampling.model_validate(request.sampling.model_dump() | changed))


def longer(request: Request, answer: Completion) -> Request:
    return replace(request, prompt_ids=request.prompt_ids + answer.token_ids)


def served(case: Case, requests: list[Request], **options: int) -> tuple[list[Completion], EngineStats]:
    """The answers, and what the engine says afterwards."""
    with Engine(case.base, **{"kv_tokens": 8192, **options}) as engine:  # type: ignore[arg-type]
        for adapter in case.adapters.values():
            engine.load_adapter(adapter)  # all run at once
        answers = engine.generate(requests)
        engine.check_integrity()
        return answers, engine.stats()


def test_guesses_change_no_bit_beside_neighbours_of_other_methods(case: Case, looping: list[Request]) -> None:
    if case.base.kernels is None:
        pytest.skip("without the kernels, a row's last bits depend on how many rows a matmul has")
    plain = [asking(request, 0) for request in (*looping, *case.requests[0:8])]
    mixed = [asking(request, guesses) for guesses, request in zip([16, 5, 0, 3] * 4, plain, strict=False)]
    with recording_engine(case.base, case.adapters) as (engine, recorder):
        expected = run(engine, recorder, plain)
        together = run(engine, recorder, mixed)
    for own, got in zip(expected, together, strict=True):
        assert own.tokens == got.tokens
        assert torch.equal(own.logits, got.logits)


@pytest.mark.parametrize(
    ("options", "ends"),
    [
        ({}, 40),
        ({"max_new_tokens": 7}, 7),
        ({"stop": ()}, None),
        ({"ignore_eos": False}, 6),
        ({"temperature": 0.01}, 40),
        ({"temperature": 0.01, "presence_penalty": 1.5, "prompt_logprobs": 1}, 40),
    ],
    ids=str,
)
def test_guesses_move_no_end_and_no_logprob(
    case: Case, looping: list[Request], monkeypatch: pytest.MonkeyPatch, options: dict[str, Any], ends: int | None
) -> None:
    (whole, *_), _ = served(case, [asking(looping[-1], 0)])
    if "stop" in options:
        options = {"stop": ("never there", whole.text[5:8])}
    if "ignore_eos" in options:
        assert whole.token_ids[5] not in whole.token_ids[:5]
        monkeypatch.setattr(case.base.model.generation_config, "eos_token_id", whole.token_ids[5])
    plain, before = served(case, [asking(request, 0, logprobs=2, **options) for request in looping])
    guessed, after = served(case, [asking(request, 16, logprobs=2, **options) for request in looping])
    assert guessed == plain
    assert before.generated_tokens == after.generated_tokens == sum(len(answer.token_ids) for answer in plain)
    if "presence_penalty" in options:
        return  # nothing is guessed
    _, alone = served(case, [asking(looping[2], 16, **options)])  # goes round one token
    assert alone.steps < len(plain[2].token_ids) or len(plain[2].token_ids) < 6
    ended = len(plain[-1].token_ids)
    assert ended == ends or (ends is None and plain[-1].finish_reason == "stop" and ended > 1)


def test_preemption_and_the_prefix_cache_meet_no_wrong_guess(case: Case, looping: list[Request]) -> None:
    requests = [asking(request, 0) for request in (*looping, *case.requests[2:6])]
    guessing = [asking(request, 16) for request in requests]
    expected, _ = served(case, requests)
    reused = []
    for asked in (requests, guessing):
        with Engine(case.base, kv_tokens=8192) as engine:
            for adapter in case.adapters.values():
                engine.register_adapter(adapter)
            assert engine.generate(asked) == expected
            before = engine.stats().reused_tokens
            again = engine.generate([longer(*each) for each in zip(asked, expected, strict=True)])
            reused.append((again, engine.stats().reused_tokens - before))
    assert reused[0] == reused[1]
    answers, stats = served(case, guessing, kv_tokens=256, step_tokens=24)
    assert answers == expected
    assert stats.preemptions > 3


def test_what_followed_the_longest_ending_is_guessed() -> None:
    tokens = [1, 2, 3, 4, 5, 6, 9, 3, 4, 5, 7, 8, 2, 3, 4, 5]
    lookup = Lookup(tokens, 4)
    assert lookup.guess(tokens, 3) == (7, 8, 2)  # 3 4 5 stood last in front of 7
    tokens += [1, 2, 3, 4, 5]
    lookup = Lookup(tokens, 4)
    assert lookup.guess(tokens, 2) == (6, 9)  # but 1 2 3 4 5 in front of 6
    assert Lookup([1, 2, 3], 4).guess([1, 2, 3], 4) == ()
    loop = [5, 6, 7, 5, 6, 7, 5]
    assert Lookup(loop, 8).guess(loop, 8) == (6, 7, 5, 6, 7, 5, 6, 7)


def test_wrong_guesses_become_fewer_and_right_ones_more() -> None:
    tokens = [1, 2, 3, 4, 5, 6, 7, 8] * 2
    lookup = Lookup(tokens, 8)
    assert len(lookup.guess(tokens, 8)) == 8
    tokens += [1, 2, 9, 6, 7, 8]  # two of eight were right
    assert lookup.guess(tokens, 8) == (1, 2)
    tokens += [1, 2, 3]
    assert len(lookup.guess(tokens, 8)) == 4
    for wrong, pause in enumerate(
        (3, 3, 7, 15), start=90
    ):  # none was right: for longer and longer nothing is guessed, whatever repeats
        tokens.append(wrong)
        again = [1, 2, 3, 4, 5, 6, 7, 8] * 2
        while not lookup.guess(tokens, 8):
            tokens.append(again.pop(0))
        assert 16 - len(again) == pause
