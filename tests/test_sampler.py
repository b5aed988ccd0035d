"""Choosing tokens: transformers' own processors are the truth, and no row moves another's choice."""

from __future__ import annotations

import random
from collections import Counter
from typing import Any

import pytest
import torch
from torch import Tensor
from transformers import (
    LogitsProcessorList,
    MinNewTokensLengthLogitsProcessor,
    MinPLogitsWarper,
    NoBadWordsLogitsProcessor,
    RepetitionPenaltyLogitsProcessor,
    SequenceBiasLogitsProcessor,
    TemperatureLogitsWarper,
    TopKLogitsWarper,
    TopPLogitsWarper,
)

from adapterhub.engine import Request, Sampling
from adapterhub.engine.adjust import adjust
from adapterhub.engine.rules import Rules
from adapterhub.engine.sampler import sample

EOS = 2
BAD_WORDS = frozenset({(7,), (8, 9), (3, 8, 10)})


def rules_of(prompt: tuple[int, ...], generated: list[int], sampling: Sampling) -> Rules:
    rules = Rules.of(
        Request(prompt, sampling=sampling), lambda words: BAD_WORDS if words else frozenset(), frozenset({EOS})
    )
    assert rules is not None
    for token in generated:
        rules.push(token)
    return rules


def warped(logits: Tensor, options: dict[str, Any]) -> Tensor:
    """Probabilities of one row, [vocab]."""
    warpers = LogitsProcessorList([TemperatureLogitsWarper(options["temperature"])])
    for name, warper in (("min_p", MinPLogitsWarper), ("top_k", TopKLogitsWarper), ("top_p", TopPLogitsWarper)):
        if name in options:
            warpers.append(warper(options[name]))
    ids: Any = torch.zeros(1, 1, dtype=torch.long)
    return torch.softmax(warpers(ids, logits.unsqueeze(0)), dim=-1)[0]


@pytest.mark.parametrize("spread", [0.3, 3.0], ids=["flat", "peaked"])
@pytest.mark.parametrize(
    "options",
    [
        {},
        {"top_k": 3},
        {"top_k": 200},
        {"top_p": 0.1},
        {"top_p": 0.9},
        {"min_p": 0.3},
        {"min_p": 0.02, "top_k": 9, "top_p": 0.7},
        {"top_k": 150, "top_p": 0.5},
    ],
    ids=str,
)
def test_tokens_are_drawn_from_what_transformers_leaves(options: dict[str, Any], spread: float) -> None:
    """The likeliest decide some of these; others are drawn from all tokens, and again where top_p leaves one out."""
    draws, options = 3000, {"temperature": 0.8, **options}
    logits = torch.randn(300, generator=torch.Generator().manual_seed(5)) * spread
    expected = warped(logits, options)
    sampling = [Sampling(seed=seed, **options) for seed in range(draws)]
    tokens = sample(logits.expand(draws, -1), sampling, [3] * draws)
    drawn = torch.bincount(torch.tensor(tokens), minlength=300) / draws
    assert not drawn[expected == 0].any()
    deviation = (expected * (1 - expected) / draws).sqrt()
    assert ((drawn - expected).abs() <= 5 * deviation + 1e-3).all()
    assert (drawn - expected).abs().sum() / 2 < 0.15


def test_rules_are_those_of_transformers_to_the_bit() -> None:
    prompt, generated = (5, 8, 3, 60, 5), [11, 3, 8]
    bias = {4: -100.0, 9: 2.5, 60: 1.25}
    sampling = Sampling(repetition_penalty=1.3, logit_bias=bias, min_tokens=4, bad_words=("some",))
    logits = torch.randn(1, 100, generator=torch.Generator().manual_seed(1)) * 4
    biases: Any = {(token,): value for token, value in bias.items()}
    ids: Any = torch.tensor([[*prompt, *generated]])
    truth = LogitsProcessorList(
        [
            SequenceBiasLogitsProcessor(biases),
            NoBadWordsLogitsProcessor([list(word) for word in sorted(BAD_WORDS)]),
            MinNewTokensLengthLogitsProcessor(len(prompt), 4, EOS, device="cpu"),
            RepetitionPenaltyLogitsProcessor(1.3),
        ]
    )
    expected = truth(ids, logits.clone())
    adjust(logits, [rules_of(prompt, generated, sampling)], {})
    assert torch.equal(logits, expected)
    assert {9, 10, 7, EOS} == set(torch.nonzero(logits[0] == -torch.inf).flatten().tolist())


def test_presence_and_frequency_count_what_was_generated_and_not_the_prompt() -> None:
    prompt, generated = (5, 8), [11, 8, 11, 11]
    logits = torch.randn(1, 20, generator=torch.Generator().manual_seed(1))
    expected = logits.clone()
    for token in {*prompt, *generated}:
        expected[0, token] *= 1.5 if expected[0, token] < 0 else 1 / 1.5
    for token, count in Counter(generated).items():
        expected[0, token] -= 0.5 * count + 0.25
    sampling = Sampling(frequency_penalty=0.5, presence_penalty=0.25, repetition_penalty=1.5)
    adjust(logits, [rules_of(prompt, generated, sampling)], {})
    assert torch.allclose(logits, expected)


def test_what_is_allowed_holds_whatever_the_rules_forbid() -> None:
    allowed = torch.zeros(20, dtype=torch.bool)
    allowed[[EOS, 6]] = True
    logits = torch.arange(20.0).unsqueeze(0)
    sampling = Sampling(min_tokens=3)
    rules = [rules_of((1,), [], sampling)]
    assert sample(logits, [sampling], [0], rules, {0: allowed}) == [6]
    allowed[6] = False
    assert sample(logits, [sampling], [0], rules, {0: allowed}) == [EOS]
    assert torch.equal(logits, torch.arange(20.0).unsqueeze(0))


@pytest.mark.parametrize(("vocab", "threads"), [(258, 1), (49152, 2)])
def test_a_rows_choice_is_the_same_alone_and_in_any_mixture(vocab: int, threads: int) -> None:
    drawn, before = random.Random(vocab), torch.get_num_threads()
    choices: dict[str, list[Any]] = {
        "temperature": [0, 0.3, 1, 2.5],
        "top_p": [1, 1, 0.1, 0.5, 0.9, 0.999],
        "top_k": [0, 0, 1, 50, 64, 100],
        "min_p": [0, 0, 0.001, 0.05],
        "repetition_penalty": [1, 1, 1.3],
        "frequency_penalty": [0, 0, 0.3],
        "logit_bias": [{}, {}, {17: 5.0, 4: -2.0}],
        "min_tokens": [0, 0, 9],
    }
    sampling = [
        Sampling(seed=row, **{name: drawn.choice(values) for name, values in choices.items()}) for row in range(24)
    ]
    prompts = [tuple(drawn.randrange(vocab) for _ in range(drawn.randrange(1, 60))) for _ in sampling]
    rules = [
        Rules.of(Request(prompt, sampling=each), lambda _: frozenset(), frozenset({EOS}))
        for prompt, each in zip(prompts, sampling, strict=True)
    ]
    masks = {row: torch.rand(vocab) < 0.5 for row in (3, 12)}
    logits = torch.randn(len(sampling), vocab) * torch.rand(len(sampling), 1) * 6

    def chosen(rows: list[int]) -> list[int]:
        allowed = {place: masks[row] for place, row in enumerate(rows) if row in masks}
        return sample(
            logits[rows].clone(), [sampling[row] for row in rows], rows, [rules[row] for row in rows], allowed
        )

    torch.set_num_threads(threads)
    try:
        alone = [chosen([row])[0] for row in range(len(sampling))]
        for _ in range(4):
            rows = drawn.sample(range(len(sampling)), drawn.randrange(2, len(sampling) + 1))
            assert chosen(rows) == [alone[row] for row in rows]
    finally:
        torch.set_num_threads(before)


def test_the_coldest_and_the_widest_logits_are_drawn_from() -> None:
    logits = torch.tensor([[0.0, 1e30, -1e30, 5.0]]).repeat(2, 40)
    logits[:, 1] = 2e30
    assert sample(logits, [Sampling(temperature=1e-300), Sampling(temperature=10, top_p=0.5)], [0, 0]) == [1, 1]
