"""A text held to a structure: in a mixed batch, to its end, and refused by name where it cannot be."""

from __future__ import annotations

import json
import re
import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from cases import Case, tiny_case

from adapterhub.base import BaseModel
from adapterhub.engine import Engine, Event, Request, Sampling, Structure
from adapterhub.engine.detokenizer import Detokenizer
from adapterhub.engine.waiters import Collector
from adapterhub.errors import AdapterHubError, InvalidInputError
from adapterhub.testing.equality import recording_engine, run

PROMPT = (72, 101, 110)
RECORD = {
    "type": "object",
    "properties": {"id": {"type": "integer", "minimum": 10, "maximum": 99}, "kind": {"enum": ["cat", "dög", 'a"b']}},
    "required": ["id", "kind"],
    "additionalProperties": False,
}
EXPLODING = {
    "multipleOf": Structure(json_schema='{"type": "integer", "multipleOf": 100000007}'),
    "a regex that counts far": Structure(regex="a{1000000000}"),
    "a regex in braces in braces": Structure(regex="(a{1,1000}){1,1000}"),
    "patterns that meet": Structure(
        json_schema=json.dumps({"type": "string", "allOf": [{"pattern": f".*a.{{{n}}}b.*"} for n in range(3, 30)]})
    ),
    "cases of cases": Structure(
        json_schema=json.dumps(
            {"allOf": [{"anyOf": [{"properties": {f"{i}{j}": {"type": "null"}}} for j in range(4)]} for i in range(12)]}
        )
    ),
    "rules that end a stack": Structure(
        grammar="\n".join(["start: a0", *(f"a{n}: a{n + 1}" for n in range(4000)), 'a4000: "x"'])
    ),
    "deep brackets": Structure(grammar=f"start: {'(' * 20000}'a'{')' * 20000}"),
}
REFUSED = {
    "no JSON": (Structure(json_schema="{"), "not JSON"),
    "no schema": (Structure(json_schema="[]"), "an object, true or false"),
    "a schema deeper than JSON is read": (Structure(json_schema='{"items":' * 2000 + "{}" + "}" * 2000), "recursion"),
    "a keyword that is not held": (Structure(json_schema='{"uniqueItems": true}'), "uniqueItems"),
    "a keyword that says it need not be": (
        Structure(json_schema='{"uniqueItems": true, "x-guidance": {"lenient": true}}'),
        "uniqueItems",
    ),
    "the schema that nothing is of": (Structure(json_schema="false"), "no text fits"),
    "a remote schema": (Structure(json_schema='{"$ref": "file:///etc/passwd"}'), "/etc/passwd"),
    "bounds that would not hold": (
        Structure(json_schema='{"type": "number", "exclusiveMinimum": 9, "maximum": 9.5}'),
        "exclusiveMinimum 9",
    ),
    "nothing that fits": (Structure(regex="[^\\s\\S]"), "no text fits"),
    "a schema that is its own": (Structure(json_schema='{"$ref": "#"}'), "no text fits"),
    "no regex": (Structure(regex="(a"), "unclosed group"),
    "a regex that looks ahead": (Structure(regex="(?=a)b"), "look-around"),
    "a rule that is not there": (Structure(grammar="start: b"), 'unknown name: "b"'),
    "a special token": (Structure(grammar='start: "a" <s>'), "<s> is a special token"),
    "a special token by its id": (Structure(grammar='// "\nstart: "<s>" <[0]>'), "<[0]> is a special token"),
}


@pytest.fixture(scope="module")
def case(tiny_base: Path, tmp_path_factory: pytest.TempPathFactory) -> Case:
    return tiny_case(tiny_base, tmp_path_factory.mktemp("structure"), "int8")


@pytest.fixture
def engine(case: Case) -> Iterator[Engine]:
    with Engine(case.base, kv_tokens=4096) as engine:
        yield engine
        engine.check_integrity()


def asked(structure: Structure, count: int = 120, **options: Any) -> Request:
    return Request(PROMPT, sampling=Sampling(max_new_tokens=count, **options), structure=structure)


@pytest.mark.parametrize("temperature", [0.0, 1.5])
def test_a_text_is_what_its_structure_asks(engine: Engine, temperature: float) -> None:
    choice = ('say "yes"', "no\n", "größer\\😀", "no")
    requests = [
        asked(structure, temperature=temperature, seed=seed)
        for seed in range(4)
        for structure in (
            Structure(json_schema=json.dumps(RECORD)),
            Structure(regex=r"[a-f]{2,6}-\d{3}"),
            Structure(choice=choice),
            Structure(grammar='start: sum\nsum: NUMBER | sum "+" NUMBER | "(" sum ")"\nNUMBER: /[0-9]{1,2}/'),
        )
    ]
    for at, completion in enumerate(engine.generate(requests)):
        text = completion.text
        if at % 4 == 3:  # of any length, so that it may be cut
            assert re.fullmatch(r"[0-9+()]+", text)
            assert completion.finish_reason == "length" or eval(re.sub(r"\b0+(?=\d)", "", text)) >= 0
            continue
        assert completion.finish_reason == "stop"
        if at % 4 == 0:
            record = json.loads(text)
            assert set(record) == {"id", "kind"}
            assert 10 <= record["id"] <= 99
            assert record["kind"] in ("cat", "dög", 'a"b')
        elif at % 4 == 1:
            assert re.fullmatch(r"[a-f]{2,6}-\d{3}", text)
        else:
            assert text in choice


def test_it_ends_where_it_is_whole_or_at_an_end_of_sequence_where_it_may_be(engine: Engine) -> None:
    whole, cut = engine.generate([asked(Structure(regex="[ab]{4}")), asked(Structure(regex="[ab]{4}"), 3)])
    assert (len(whole.token_ids), whole.finish_reason) == (4, "stop")
    assert (cut.token_ids, cut.finish_reason) == (whole.token_ids[:3], "length")
    empty = engine.generate([asked(Structure(choice=("",)))])[0]
    assert (empty.text, empty.token_ids, empty.finish_reason) == ("", (1,), "stop")
    ends = engine.generate([asked(Structure(regex="a*"), temperature=5.0, seed=seed) for seed in range(40)])
    assert all(each.token_ids[-1:] == (1,) for each in ends if each.finish_reason == "stop")
    assert len({each.text for each in ends if each.finish_reason == "stop"}) > 2


def test_rows_with_and_without_a_structure_are_each_as_alone_whatever_preempts_them(case: Case) -> None:
    structures = (None, Structure(regex="([a-z]{1,8} ){20}"), None, Structure(json_schema=json.dumps(RECORD)))
    requests = [
        replace(
            request,
            structure=structures[at % 4],
            sampling=Sampling(max_new_tokens=24, temperature=at % 3, seed=at, ignore_eos=at % 2 == 0, logprobs=2),
        )
        for at, request in enumerate(case.requests)
    ]
    plain = [request for request in requests if request.structure is None]
    with recording_engine(case.base, case.adapters) as (engine, recorder):
        engine.generate([asked(structure) for structure in structures if structure])  # compiled, so all start together
        undisturbed = run(engine, recorder, plain)
        alone = [run(engine, recorder, [request])[0] for request in requests]
        logprobs = [each.logprobs for each in engine.generate(requests[:4])]
        for got, expected in zip(run(engine, recorder, plain), undisturbed, strict=True):
            assert got.tokens == expected.tokens
    for row, told in zip(alone, logprobs, strict=False):  # of the raw logits
        truth = torch.log_softmax(row.logits, dim=-1)
        assert [each.chosen for each in told] == pytest.approx(
            [float(values[token]) for values, token in zip(truth, row.tokens, strict=True)]
        )
    with recording_engine(case.base, case.adapters, step_tokens=40, kv_tokens=192) as (engine, recorder):
        mixed = run(engine, recorder, requests)
        assert engine.stats().preemptions > 0
    for got, expected in zip(mixed, alone, strict=True):
        assert got.tokens == expected.tokens
        assert torch.equal(got.logits, expected.logits)


def test_stop_strings_end_a_structured_text_too(engine: Engine) -> None:
    stopped = engine.generate([asked(Structure(regex="[a-c]{5}!x{9}"), stop=("!xx",))])[0]
    assert (len(stopped.text), stopped.finish_reason) == (5, "stop")
    assert re.fullmatch("[a-c]{5}", stopped.text)


@pytest.mark.parametrize("why", REFUSED)
def test_what_cannot_be_held_is_refused_by_name(engine: Engine, why: str) -> None:
    structure, reason = REFUSED[why]
    for _ in range(2):  # compiled, and remembered
        with pytest.raises(InvalidInputError, match=re.escape(reason)) as raised:
            engine.generate([asked(structure)])
        assert raised.value.field == structure.field
        assert str(raised.value).startswith(f"{structure.field}: ")
        assert len(str(raised.value)) < 400


def test_it_is_one_structure_of_a_size(engine: Engine) -> None:
    with pytest.raises(InvalidInputError, match="regex and grammar given"):
        Structure(regex="a", grammar="start: b")
    with pytest.raises(InvalidInputError, match="nothing given"):
        Structure()
    with pytest.raises(InvalidInputError, match="16385 bytes in UTF-8; at most 16384") as raised:
        Structure(regex="x" * 16385)
    assert raised.value.field == "structure.regex"
    with pytest.raises(InvalidInputError, match="0 texts"):
        Structure(choice=())
    with pytest.raises(InvalidInputError, match="ignore_eos"):
        engine.submit(asked(Structure(regex="a"), ignore_eos=True), print)


def test_structures_that_explode_are_refused_while_others_go_on(engine: Engine) -> None:
    plain = Request(PROMPT, sampling=Sampling(max_new_tokens=20, ignore_eos=True))
    expected = engine.generate([plain])[0]
    ended: dict[str, Event] = {}
    over = threading.Event()

    def explode(why: str) -> None:
        def receive(event: Event) -> None:
            ended[why] = event
            if len(ended) == len(EXPLODING):
                over.set()

        engine.submit(asked(EXPLODING[why]), receive)

    first, *others = EXPLODING
    explode(first)
    for text in ("a", "b", "c"):
        assert engine.generate([asked(Structure(choice=(text,)))])[0].text == text
    assert not ended  # it keeps no other structure waiting
    for why in others:
        explode(why)
    rounds = 0
    while not over.is_set():
        assert engine.generate([plain])[0] == expected
        rounds += 1
    assert rounds > 5
    for why, structure in EXPLODING.items():
        error = ended[why].error
        assert isinstance(error, InvalidInputError), why
        assert error.field == structure.field


def test_a_request_that_ends_before_its_structure_is_compiled_leaves_nothing(case: Case) -> None:
    cancelled: list[Event] = []
    closed: list[Event] = []
    with Engine(case.base, kv_tokens=1024, max_requests=2) as engine:
        engine.cancel(engine.submit(asked(EXPLODING["multipleOf"]), cancelled.append))
        engine.check_integrity()
        assert cancelled == [Event((), "cancelled")]
        completions = engine.generate([asked(Structure(choice=(text,))) for text in "abc"])  # both seats are free
        assert [each.text for each in completions] == ["a", "b", "c"]
        engine.submit(asked(Structure(json_schema='{"type": "integer", "multipleOf": 100000009}')), closed.append)
    assert closed == [Event((), "cancelled")]
    assert len(cancelled) == 1


def test_a_text_that_grows_too_complex_ends_its_own_request(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    growing = asked(Structure(regex="x{150}((z{1,1000}){1,1000}a){9}"), 400)
    plain = Request(PROMPT, sampling=Sampling(max_new_tokens=200, ignore_eos=True))
    expected = engine.generate([plain])[0]
    for reason in (
        r"structure\.regex: lexer error: too many expressions",
        r"structure\.regex: 1 tokens took .* to decide",
    ):
        collectors = [Collector(Detokenizer(engine.base.tokenizer)) for _ in range(2)]
        for request, collector in zip((growing, plain), collectors, strict=True):
            engine.submit(request, collector)
        with pytest.raises(InvalidInputError, match=reason):
            collectors[0].result()
        assert collectors[1].result() == expected
        monkeypatch.setattr("adapterhub.structure.matcher.ALLOWANCE_SECONDS", -1.0)


def test_a_base_that_cannot_be_read_says_so(tiny_base: Path) -> None:
    base = BaseModel.load(str(tiny_base), quantization="none")
    base.tokenizer.eos_token_id = None
    base.model.generation_config = None  # type: ignore[assignment]
    with (
        Engine(base, kv_tokens=1024) as engine,
        pytest.raises(AdapterHubError, match="end-of-sequence"),
    ):
        engine.generate([asked(Structure(regex="a"))])
