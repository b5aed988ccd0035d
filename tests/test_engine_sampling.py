"""How each row of a mixed batch chooses, ends and tells: noise, stop strings, log-probabilities."""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from cases import Case, tiny_case
from test_engine import PROMPT, options

from adapterhub.engine import Engine, Request, Sampling
from adapterhub.testing.equality import recording_engine, run


@pytest.fixture(scope="module")
def case(tiny_base: Path, tmp_path_factory: pytest.TempPathFactory) -> Case:
    return tiny_case(tiny_base, tmp_path_factory.mktemp("sampling"), "int8")


def test_preemption_moves_no_sampled_token(case: Case) -> None:
    requests = [
        replace(request, sampling=options(24, temperature=1.0, top_p=0.95, seed=index))
        for index, request in enumerate(case.requests)
    ]
    with recording_engine(case.base, case.adapters) as (engine, recorder):
        alone = [run(engine, recorder, [request])[0].tokens for request in requests]
        assert alone != [run(engine, recorder, [request])[0].tokens for request in case.requests]
    with recording_engine(case.base, case.adapters, step_tokens=40, kv_tokens=192) as (engine, recorder):
        assert [row.tokens for row in run(engine, recorder, requests)] == alone
        assert engine.stats().preemptions > 5


def test_a_stop_string_ends_its_own_request_only(case: Case) -> None:
    plain = Request(PROMPT, sampling=options(60))
    with Engine(case.base, kv_tokens=1024) as engine:
        whole = engine.generate([plain])[0]
        end = next(index for index in range(10, 40) if whole.text.find(whole.text[index : index + 2]) == index)
        stop = whole.text[end : end + 2]
        stopping = replace(plain, sampling=options(60, stop=("never there", stop)))
        stopped, other = engine.generate([stopping, plain])
        engine.check_integrity()
    assert other == whole
    assert (stopped.finish_reason, stopped.text) == ("stop", whole.text[:end])
    assert stopped.token_ids == whole.token_ids[: len(stopped.token_ids)]
    tokens = list(stopped.token_ids)
    assert stop in case.base.tokenizer.decode(tokens)
    assert stop not in case.base.tokenizer.decode(tokens[:-1])


def test_stop_strings_that_never_come_change_nothing(case: Case) -> None:
    plain = Request(PROMPT, sampling=options(40))
    with Engine(case.base, kv_tokens=1024) as engine:
        whole, same = engine.generate([plain, replace(plain, sampling=options(40, stop=("never there",)))])
    assert same == whole


def test_logprobs_are_those_of_the_raw_logits(case: Case) -> None:
    def request(asked: int | None, temperature: float) -> Request:
        return Request(PROMPT, sampling=Sampling(max_new_tokens=6, temperature=temperature, logprobs=asked))

    requests = [request(None, 0.0), request(3, 2.0), request(0, 1.0), request(20, 0.0)]
    with recording_engine(case.base, {}) as (engine, recorder):
        for asked in requests:
            before = set(recorder.rows)
            (completion,) = engine.generate([asked])
            (row,) = set(recorder.rows) - before
            expected = torch.log_softmax(torch.stack(recorder.rows[row]), dim=-1)
            count = asked.sampling.logprobs
            if count is None:
                assert completion.logprobs == ()
                continue
            for told, token, truth in zip(completion.logprobs, completion.token_ids, expected, strict=True):
                assert told.chosen == pytest.approx(float(truth[token]))
                top = truth.topk(count)
                assert told.top == tuple(zip(top.indices.tolist(), top.values.tolist(), strict=True))
        assert [each.logprobs for each in engine.generate(requests)] == [
            engine.generate([alone])[0].logprobs for alone in requests
        ]


def plain_letters(text: str) -> str:
    """Two letters in a row of one byte each, which the tokenizer takes apart as they were generated."""
    found = re.search("[!-~]{2}", text)
    assert found
    return found.group()


def test_rules_hold_in_the_engine_whoever_shares_the_steps(case: Case) -> None:
    """What each option forbids or brings about, alone and in one batch with every other and with plain requests."""
    eos = 1
    plain = Request(PROMPT, sampling=Sampling(max_new_tokens=40))
    with Engine(case.base, kv_tokens=2048) as engine:
        whole = engine.generate([plain])[0]
        text = whole.text
        bad = plain_letters(text)
        first = whole.token_ids[8]

        def request(**values: object) -> Request:
            return replace(plain, sampling=Sampling.load({"max_new_tokens": 40, **values}, where="test"))

        requests = [
            request(bad_words=(bad, "東京")),
            request(logit_bias={eos: 100.0}),
            request(logit_bias={eos: 100.0}, min_tokens=5),
            request(stop_token_ids=(first,)),
            request(stop_token_ids=(first,), min_tokens=12),
            request(repetition_penalty=10.0, temperature=0.7, seed=3),
            request(frequency_penalty=2.0, presence_penalty=2.0, stop=("never there",)),
        ]
        alone = [engine.generate([each])[0] for each in requests]
        others = [replace(plain, sampling=options(20, temperature=1.0, top_k=5, seed=seed)) for seed in range(3)]
        assert engine.generate([*requests, plain, *others])[: len(requests)] == alone
        engine.check_integrity()
    unspoken, ended, late, stopped, later, _, varied = alone
    assert bad in text
    assert bad not in unspoken.text
    assert (ended.token_ids, ended.finish_reason) == ((eos,), "stop")
    assert (len(late.token_ids), late.token_ids[-1], late.finish_reason) == (6, eos, "stop")
    assert (stopped.token_ids[-1], stopped.finish_reason) == (first, "stop")
    assert stopped.text == case.base.tokenizer.decode(list(stopped.token_ids[:-1]))
    assert first not in later.token_ids[:12]
    assert max(Counter(varied.token_ids).values()) < max(Counter(whole.token_ids).values())


def test_a_stop_string_within_the_first_tokens_is_text_like_any_other(case: Case) -> None:
    with Engine(case.base, kv_tokens=1024) as engine:
        whole = engine.generate([Request(PROMPT, sampling=options(40))])[0]
        stop = plain_letters(whole.text)
        decode = case.base.tokenizer.decode
        least = next(count for count in range(40) if stop in decode(list(whole.token_ids[:count])))
        early, late = (
            engine.generate([Request(PROMPT, sampling=options(40, stop=(stop,), min_tokens=count))])[0]
            for count in (least - 1, least)
        )
    assert early.text == whole.text[: whole.text.index(stop)]
    assert late.text.startswith(whole.text[: whole.text.index(stop) + 2])
    assert len(late.token_ids) > least


def test_prompt_logprobs_are_those_of_every_row_chunked_preempted_or_cached(case: Case) -> None:
    """The truth: what each beginning of the prompt says of the token behind it, sampled one at a time."""
    asked = [
        replace(request, sampling=options(12, prompt_logprobs=index % 3)) for index, request in enumerate(case.requests)
    ]
    shown = asked[1::5]
    with recording_engine(case.base, case.adapters) as (engine, recorder):
        told = [completion.prompt_logprobs for completion in engine.generate(shown)]
        for request, found in zip(shown, told, strict=True):
            ids = request.prompt_ids
            beginnings = [Request(ids[:end], request.adapter, sampling=options(1)) for end in range(1, len(ids))]
            rows = [torch.log_softmax(row.logits[0], dim=-1) for row in run(engine, recorder, beginnings)]
            assert [each.chosen for each in found] == [
                float(row[token]) for row, token in zip(rows, ids[1:], strict=True)
            ]
            count = request.sampling.prompt_logprobs
            assert [each.top for each in found] == [
                tuple(zip(top.indices.tolist(), top.values.tolist(), strict=True))
                for top in (row.topk(count or 0) for row in rows)
            ]
        again = engine.generate([replace(shown[0], sampling=options(12)), *asked])
    with recording_engine(case.base, case.adapters, step_tokens=40, kv_tokens=192) as (engine, _):
        scarce = engine.generate(asked)
        assert engine.stats().preemptions > 5
    assert scarce == again[1:]
    assert [completion.prompt_logprobs for completion in again[2::5]] == told
    assert again[0].prompt_logprobs == ()
    assert again[0].token_ids == again[2].token_ids
