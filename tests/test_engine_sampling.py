"""How each row of a mixed batch chooses, ends and tells: noise, stop strings, log-probabilities."""

from __future__ import annotations

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
