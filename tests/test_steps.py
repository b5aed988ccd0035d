"""An answer tells which of the engine's steps computed it, so that who shared a batch can be told from outside."""

from __future__ import annotations

from collections import defaultdict
from pathlib import Path
from typing import Any

import pytest
from adapterhub_server.stopwatch import Stopwatch
from openai import OpenAI
from serving import serving
from torch import Tensor

from adapterhub.base import BaseModel
from adapterhub.engine import Engine, Event, Request, Sampling, Steps
from adapterhub.engine.sequence import Sequence


@pytest.fixture
def base(tiny_base: Path) -> BaseModel:
    return BaseModel.load(str(tiny_base), quantization="none")


@pytest.mark.parametrize(("kv_tokens", "put_off"), [(1024, False), (96, True)])
def test_steps_are_those_that_gave_its_tokens(base: BaseModel, kv_tokens: int, put_off: bool) -> None:
    """With little room the youngest are put off, which leaves gaps."""
    seen: defaultdict[tuple[int, ...], list[int]] = defaultdict(list)
    told: dict[tuple[int, ...], Steps | None] = {}

    def observe(sequence: Sequence, logits: Tensor) -> None:
        seen[sequence.request.prompt_ids].append(engine.stats().steps)

    with Engine(base, observe=observe, kv_tokens=kv_tokens) as engine:
        for number in range(4):
            prompt = (number + 2, 5, 7)

            def receive(event: Event, prompt: tuple[int, ...] = prompt) -> None:
                if event.finish_reason:
                    told[prompt] = event.steps

            engine.submit(Request(prompt, sampling=Sampling(max_new_tokens=40, ignore_eos=True)), receive)
        while len(told) < 4:
            engine.check_integrity()  # waits for a step to end
        preemptions = engine.stats().preemptions
    # Every prompt, and what is computed again, fits one step, which samples: none is without a token.
    assert told == {prompt: Steps(steps[0], steps[-1], len(steps)) for prompt, steps in seen.items()}
    assert (preemptions > 0) == put_off
    gaps = [steps for steps in told.values() if steps and steps.taken < steps.last - steps.first + 1]
    assert bool(gaps) == put_off


def test_several_answers_of_a_call_span_from_the_first_to_the_last() -> None:
    watch, other = Stopwatch(), Stopwatch()
    watch.admitted()
    watch.ran(Steps(5, 9, 5))
    watch.ran(Steps(3, 8, 4))
    other.ran(Steps(6, 12, 6))
    watch.join(other)
    timings = watch.message()
    assert (timings.first_step, timings.last_step, timings.steps) == (3, 12, 6)


def test_every_door_tells_them_and_http_tells_token_ids_where_asked(base: BaseModel, tmp_path: Path) -> None:
    asked: Any = {"model": base.record.id, "temperature": 0, "max_tokens": 6}
    ids: Any = {"extra_body": {"return_token_ids": True, "ignore_eos": True}}
    with serving(base, tmp_path, http=True) as server:
        ours = server.client.generate("hi", kind="raw", max_new_tokens=6, ignore_eos=True)
        first = ours.timings.first_step
        assert ours.timings[3:] == (first, first + 5, 6)
        with OpenAI(base_url=server.url, api_key="none", max_retries=0) as untyped:
            client: Any = untyped
            whole = client.completions.create(prompt="hi", **asked, **ids)
            assert tuple(whole.choices[0].token_ids) == ours.token_ids
            assert whole.adapterhub["steps"] == {"first": first + 6, "last": first + 11, "count": 6}
            turns = [{"role": "user", "content": "hi"}]
            chat = client.chat.completions.create(messages=turns, **asked, **ids).choices[0].token_ids
            streams = (
                (client.completions.create(prompt="hi", stream=True, **asked, **ids), ours.token_ids),
                (client.chat.completions.create(messages=turns, stream=True, **asked, **ids), chat),
            )
            for stream, expected in streams:
                chunks = [chunk.choices[0] for chunk in stream]
                assert [token for chunk in chunks for token in chunk.token_ids] == list(expected)
            plain = client.completions.create(prompt="hi", **asked)
            assert "token_ids" not in plain.choices[0].model_extra
