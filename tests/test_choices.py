"""Several answers to one request, and every option of sampling, over gRPC."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from statistics import fmean
from typing import Any

import pytest
from serving import LONG, Serving, serving

from adapterhub.base import BaseModel
from adapterhub.client import Generation, SamplingOptions
from adapterhub.errors import InvalidInputError
from adapterhub.pb.v1 import inference_pb2

PROMPT = "naïve café, 東京 and so on, and on"
SEED = 2**63 - 2


def drawn(seed: int = SEED, **options: Any) -> dict[str, Any]:
    return {"max_new_tokens": 12, "temperature": 1.5, "seed": seed, "ignore_eos": True, **options}


@pytest.fixture(scope="module")
def server(tiny_base: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Serving]:
    base = BaseModel.load(str(tiny_base), quantization="int8")
    with serving(base, tmp_path_factory.mktemp("serving")) as running:
        yield running


@pytest.fixture(autouse=True)
def _ends_idle(server: Serving) -> Iterator[None]:
    yield
    server.pace.seconds = 0.0
    server.wait_idle()


def alone(server: Serving, count: int) -> list[Generation]:
    """What each of the seeds gives by itself; the last two come after the largest seed."""
    seeds = [(SEED + place) % 2**63 for place in range(count)]
    return [server.client.generate(PROMPT, **drawn(seed, logprobs=0)) for seed in seeds]


def test_each_answer_is_that_of_its_own_seed_and_the_prompt_is_computed_once(server: Serving) -> None:
    expected = alone(server, 4)
    prompt = f"{PROMPT}!"
    before = server.engine.stats()
    whole = server.client.generate(prompt, n=4, **drawn(prompt_logprobs=1))
    after = server.engine.stats()
    assert whole.usage.generated_tokens == 4 * 12
    assert whole.usage.prompt_tokens == len(server.client.tokenize(prompt))
    assert after.prompt_tokens - before.prompt_tokens < 2 * whole.usage.prompt_tokens
    assert len(whole.prompt_logprobs) == whole.usage.prompt_tokens - 1
    assert (whole.text, whole.token_ids) == whole.choices[0][:2]
    answers = server.client.generate(PROMPT, n=4, **drawn(logprobs=0)).choices
    assert [answer[:4] for answer in answers] == [
        (each.text, each.token_ids, each.finish_reason, each.logprobs) for each in expected
    ]
    assert server.client.generate(PROMPT, n=1, **drawn()).choices == ()


def test_a_stream_tells_whose_each_piece_is(server: Serving) -> None:
    server.pace.seconds = 0.002
    pieces = list(server.client.generate_stream(PROMPT, n=3, **drawn(prompt_logprobs=0)))
    for place, each in enumerate(alone(server, 3)):
        own = [piece for piece in pieces if piece.choice == place]
        assert "".join(piece.text for piece in own) == each.text
        assert tuple(token for piece in own for token in piece.token_ids) == each.token_ids
        assert [piece.finish_reason for piece in own] == [None] * (len(own) - 1) + ["length"]
    assert [piece.choice for piece in pieces] != sorted(piece.choice for piece in pieces), "they were not mixed"
    assert [piece.route is not None for piece in pieces] == [True] + [False] * (len(pieces) - 1)
    assert [bool(piece.prompt_logprobs) for piece in pieces] == [True] + [False] * (len(pieces) - 1)
    assert [piece.usage is not None for piece in pieces] == [False] * (len(pieces) - 1) + [True]
    assert pieces[-1].usage is not None
    assert pieces[-1].usage.generated_tokens == 3 * 12


def test_the_best_are_the_likeliest_by_the_mean(server: Serving) -> None:
    ranked = sorted(alone(server, 5), key=lambda each: fmean(token.logprob for token in each.logprobs), reverse=True)
    two = server.client.generate(PROMPT, n=2, best_of=5, **drawn())
    assert [choice.token_ids for choice in two.choices] == [each.token_ids for each in ranked[:2]]
    assert all(choice.logprobs == () for choice in two.choices)
    assert two.usage.generated_tokens == 5 * 12
    one = server.client.generate(PROMPT, best_of=5, **drawn(logprobs=0))
    assert (one.token_ids, one.logprobs, one.choices) == (ranked[0].token_ids, ranked[0].logprobs, ())


def test_a_client_that_leaves_ends_all_answers(server: Serving) -> None:
    with server.cut_short():
        stream = server.client.generate_stream(PROMPT, n=4, max_new_tokens=LONG, ignore_eos=True)
        with closing(stream):
            next(piece for piece in stream if piece.choice == 3)
            assert server.engine.stats().running == 4


def test_an_answer_that_finds_no_seat_ends_the_others(tiny_base: Path, tmp_path: Path) -> None:
    base = BaseModel.load(str(tiny_base), quantization="none")
    with serving(base, tmp_path, max_requests=2) as server:
        with pytest.raises(Exception, match="2 requests"), server.cut_short():
            server.client.generate(PROMPT, n=3, max_new_tokens=LONG, ignore_eos=True)
        server.wait_idle()


@pytest.mark.parametrize(
    "counts", [{"n": 0}, {"n": 17}, {"best_of": 0}, {"best_of": 17}, {"n": 3, "best_of": 2}], ids=str
)
def test_counts_out_of_bounds_are_named(server: Serving, counts: dict[str, Any]) -> None:
    with pytest.raises(InvalidInputError, match="accepted") as refused:
        server.client.generate(PROMPT, **counts)
    assert refused.value.field == list(counts)[-1]


def test_options_change_the_answer_over_the_wire_as_they_do_in_the_engine(server: Serving) -> None:
    plain = server.client.generate(PROMPT, max_new_tokens=20, ignore_eos=True)
    options: dict[str, dict[str, Any]] = {
        "min_p": {"temperature": 1.5, "min_p": 1.0},
        "repetition_penalty": {"repetition_penalty": 1e-3},
        "presence_penalty": {"presence_penalty": -2.0, "frequency_penalty": 2},
        "logit_bias": {"logit_bias": {77: 100.0}},
        "min_tokens": {"logit_bias": {1: 100.0}, "min_tokens": 3},
        "bad_words": {"bad_words": [chr(letter) for letter in range(33, 97)]},
        "stop_token_ids": {"stop_token_ids": [plain.token_ids[4]]},
    }
    got = {
        name: server.client.generate(PROMPT, **{"max_new_tokens": 20, "ignore_eos": True, **asked}).token_ids
        for name, asked in options.items()
    }
    assert got["min_p"] == plain.token_ids
    assert got["logit_bias"] == (77,) * 20
    assert len(set(got["repetition_penalty"])) < len(set(plain.token_ids))
    assert got["presence_penalty"] != plain.token_ids
    assert got["min_tokens"][3:] == (1,) * 17
    assert 1 not in got["min_tokens"][:3]
    assert not {*range(33 - 31, 97 - 31)} & set(got["bad_words"])
    assert got["stop_token_ids"] == plain.token_ids[: plain.token_ids.index(plain.token_ids[4]) + 1]


def test_the_client_has_every_option_of_the_wire() -> None:
    assert set(SamplingOptions.__annotations__) == set(inference_pb2.Sampling.DESCRIPTOR.fields_by_name)
