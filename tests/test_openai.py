"""The HTTP door answers OpenAI's own client as gRPC answers ours: real server, real clients, tiny base."""

from __future__ import annotations

import asyncio
import http.client
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import grpc
import openai
import pytest
from openai import AsyncOpenAI, OpenAI
from prometheus_client import generate_latest
from serving import LONG, Serving, serving

from adapterhub.base import BaseModel
from adapterhub.client import Turn
from adapterhub.pb.v1 import inference_pb2, inference_pb2_grpc
from adapterhub.prompt_format import PromptFormat

QUESTION = "naïve café, 東京?"
TURNS = [
    {"role": "system", "content": "Be brief."},
    {"role": "user", "content": "hi"},
    {"role": "assistant", "content": "hello"},
    {"role": "user", "content": [{"type": "text", "text": QUESTION}]},
]
GREEDY: dict[str, Any] = {"temperature": 0, "max_tokens": 16}


@pytest.fixture(scope="module")
def base(tiny_base: Path) -> BaseModel:
    return BaseModel.load(str(tiny_base), quantization="none")


@pytest.fixture(scope="module")
def server(base: BaseModel, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Serving]:
    with serving(base, tmp_path_factory.mktemp("openai"), http=True) as running:
        yield running


@pytest.fixture(scope="module")
def ask(server: Serving) -> Iterator[Any]:
    """OpenAI's client, untyped: half of what is tested is what its types forbid."""
    with OpenAI(base_url=server.url, api_key="none", max_retries=0) as client:
        yield client


@pytest.fixture(autouse=True)
def _ends_idle(server: Serving) -> Iterator[None]:
    yield
    server.pace.seconds = 0.0
    server.wait_idle()


def joined(stream: Any) -> tuple[str, str | None]:
    """The text of a stream of one choice, and why it ended."""
    chunks = [chunk for chunk in stream if chunk.choices]
    told = [getattr(chunk.choices[0], "delta", None) or chunk.choices[0] for chunk in chunks]
    text = "".join((getattr(each, "content", None) or getattr(each, "text", None) or "") for each in told)
    return text, chunks[-1].choices[0].finish_reason


@pytest.mark.parametrize("method", ["", "lora", "prompt_tuning"])
def test_a_chat_is_answered_as_over_grpc_whole_and_streamed(server: Serving, ask: Any, method: str) -> None:
    ref = str(server.publish(f"chat-{method}", method)) if method else ""
    model = ref or server.engine.base.record.id
    turns = [Turn("system", "Be brief."), Turn("user", "hi"), Turn("assistant", "hello"), Turn("user", QUESTION)]
    ours = server.client.generate(turns, adapter=ref, max_new_tokens=16, logprobs=2)
    whole = ask.chat.completions.create(model=model, messages=TURNS, logprobs=True, top_logprobs=2, **GREEDY)
    choice = whole.choices[0]
    assert (choice.message.content, choice.finish_reason) == (ours.text, ours.finish_reason)
    assert (whole.model, choice.message.role) == (model, "assistant")
    assert (whole.usage.prompt_tokens, whole.usage.completion_tokens) == ours.usage
    assert whole.adapterhub["digest"] == ours.adapter_digest
    assert [each.logprob for each in choice.logprobs.content] == pytest.approx([each.logprob for each in ours.logprobs])
    assert [len(each.top_logprobs) for each in choice.logprobs.content] == [2] * len(ours.token_ids)
    assert joined(ask.chat.completions.create(model=model, messages=TURNS, stream=True, **GREEDY)) == (
        ours.text,
        ours.finish_reason,
    )


def test_a_completion_takes_its_prompt_as_it_is_and_several_at_once(server: Serving, ask: Any) -> None:
    model = server.engine.base.record.id
    prompts = [QUESTION, "hello", "hello again"]
    ours = [server.client.generate(prompt, kind="raw", max_new_tokens=16, logprobs=1) for prompt in prompts]
    alone = ask.completions.create(model=model, prompt=QUESTION, logprobs=1, **GREEDY)
    assert alone.choices[0].text == ours[0].text
    told = alone.choices[0].logprobs
    assert told.token_logprobs == pytest.approx([each.logprob for each in ours[0].logprobs])
    assert told.text_offset == [len("".join(told.tokens[:number])) for number in range(len(told.tokens))]
    echoed = ask.completions.create(model=model, prompt=QUESTION, echo=True, **GREEDY)
    assert echoed.choices[0].text == QUESTION + ours[0].text
    together = ask.completions.create(model=model, prompt=prompts, **GREEDY)
    assert [choice.text for choice in together.choices] == [each.text for each in ours]
    assert together.usage.completion_tokens == sum(each.usage.generated_tokens for each in ours)
    ids = [server.client.tokenize(prompt, kind="raw") for prompt in prompts]
    by_ids = ask.completions.create(model=model, prompt=[list(each) for each in ids], **GREEDY)
    assert [choice.text for choice in by_ids.choices] == [each.text for each in ours]
    stream = ask.completions.create(
        model=model, prompt=prompts, stream=True, stream_options={"include_usage": True}, **GREEDY
    )
    texts, usage = ["", "", ""], None
    for chunk in stream:
        usage = chunk.usage or usage
        for choice in chunk.choices:
            texts[choice.index] += choice.text
    assert texts == [each.text for each in ours]
    assert usage == together.usage


def test_what_a_request_asks_means_what_it_means_over_grpc(server: Serving, ask: Any) -> None:
    sampling = inference_pb2.Sampling(max_new_tokens=24, temperature=0.9, top_k=20, top_p=0.9, seed=7, ignore_eos=True)
    plain = server.client.generate(QUESTION, kind="raw", max_new_tokens=24, ignore_eos=True)
    sampling.stop.append(plain.text[6:8])
    message = inference_pb2.GenerateRequest(text=QUESTION, n=2, sampling=sampling)
    message.prompt_format.kind = inference_pb2.PromptFormat.KIND_RAW
    with grpc.insecure_channel(server.address) as channel:
        ours = inference_pb2_grpc.InferenceStub(channel).Generate(message)  # type: ignore[no-untyped-call]
    theirs = ask.completions.create(
        model=server.engine.base.record.id,
        prompt=QUESTION,
        n=2,
        max_tokens=24,
        temperature=0.9,
        top_p=0.9,
        seed=7,
        stop=plain.text[6:8],
        extra_body={"top_k": 20, "ignore_eos": True},
    )
    assert [choice.text for choice in theirs.choices] == [each.text for each in list(ours.choices) or [ours]]


def test_one_question_is_answered_by_an_adapter_that_knows_no_chat(server: Serving, ask: Any) -> None:
    server.publish("plain", prompt_format=PromptFormat.of(server.engine.base.tokenizer, "raw"))
    ours = server.client.generate(QUESTION, adapter="plain", max_new_tokens=16)
    messages = [{"role": "user", "content": QUESTION}]
    assert ask.chat.completions.create(model="plain", messages=messages, **GREEDY).choices[0].message.content == (
        ours.text
    )


def test_a_chat_without_a_limit_goes_on_to_the_end_of_the_context(server: Serving, ask: Any) -> None:
    ref = server.publish("virtual", "prompt_tuning")
    answer = ask.chat.completions.create(model=str(ref), messages=TURNS, temperature=0, extra_body={"ignore_eos": True})
    virtual = server.engine.virtual_tokens(server.store.resolve(ref))
    assert virtual > 0
    assert answer.usage.total_tokens + virtual == server.engine.limits.max_length
    assert answer.choices[0].finish_reason == "length"


def test_models_are_the_base_and_the_adapters_that_fit_it(server: Serving, ask: Any) -> None:
    ref = server.publish("team/listed")
    base = server.engine.base.record.id
    listed = {model.id: model for model in ask.models.list()}
    assert next(iter(listed)) == base
    assert (listed["team/listed"].parent, listed["team/listed"].root) == (base, str(ref))
    assert ask.models.retrieve("team/listed").root == str(ref)
    with pytest.raises(openai.NotFoundError, match="no model"):
        ask.models.retrieve("team/unheard-of")
    server.client.generate("x", adapter="team/listed", max_new_tokens=1)
    server.client.unload("team/listed")
    assert "team/listed" not in {model.id for model in ask.models.list()}


REFUSED: dict[str, tuple[dict[str, Any], int, str, str]] = {
    "no such model": ({"model": "nobody"}, 404, "model", "nobody"),
    "no such task": ({"model": "task:none"}, 404, "model", "none"),
    "not a reference": ({"model": "../etc"}, 400, "model", "accepted"),
    "unknown field": ({"temprature": 1}, 400, "temprature", "did you mean 'temperature'"),
    "out of range": ({"temperature": 11}, 400, "temperature", "10"),
    "of another type": ({"max_tokens": "many"}, 400, "max_tokens", "integer"),
    "too long": ({"max_tokens": 4096}, 400, "max_tokens", "512"),
    "a picture": (
        {"messages": [{"role": "user", "content": [{"type": "image_url", "image_url": {"url": "x"}}]}]},
        400,
        "messages.0.content",
        "'image_url' (accepted: parts of type 'text'",
    ),
    "a turn of nobody": ({"messages": [{"role": "wizard", "content": "x"}]}, 400, "messages.0.role", "'user'"),
    "the last turn not the user's": ({"messages": [*TURNS, TURNS[2]]}, 400, "messages.4.role", "user"),
    "no turns": ({"messages": []}, 400, "messages", "at least 1"),
    "kept by the server": ({"store": True}, 400, "store", "accepted: false"),
    "two structures": (
        {"response_format": {"type": "json_object"}, "guided_regex": "a"},
        400,
        "guided.regex",
        "one at a time",
    ),
}


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize(("fields", "status", "param", "told"), REFUSED.values(), ids=REFUSED.keys())
def test_what_is_not_accepted_is_refused_by_name(
    server: Serving, ask: Any, fields: dict[str, Any], status: int, param: str, told: str, stream: bool
) -> None:
    body = {"model": server.engine.base.record.id, "messages": TURNS, "stream": stream, **fields}
    with pytest.raises(openai.APIStatusError) as refused:
        ask.post("/chat/completions", body=body, cast_to=object)
    assert (refused.value.status_code, refused.value.param) == (status, param)
    assert told in refused.value.message
    assert refused.value.request_id


def test_bodies_and_paths_that_are_none_get_an_error_object_too(server: Serving) -> None:
    connection = http.client.HTTPConnection(urlsplit(server.url).netloc)
    for method, path, body, status, code in (
        ("POST", "/v1/completions", b"{", 400, "invalid_input"),
        ("POST", "/v1/completions", b"[1]", 400, "invalid_input"),
        ("POST", "/v1/completions", b'{"model": "m", "prompt": "\\uD800"}', 400, "invalid_input"),
        ("POST", "/v1/embeddings", b"{}", 404, "no_such_route"),
        ("GET", "/v1/completions", b"", 405, "no_such_route"),
        ("POST", "/v1/completions", b" " * ((4 << 20) + 1), 413, "invalid_input"),
    ):
        connection.request(method, path, body)
        answer = connection.getresponse()
        assert (answer.status, json.load(answer)["error"]["code"]) == (status, code)
    connection.close()


def test_pages_of_other_origins_ask_nothing_of_a_server_without_keys(server: Serving, ask: Any) -> None:
    own = server.url.removesuffix("/v1")
    assert ask.models.list(extra_headers={"origin": own}).data
    with pytest.raises(openai.PermissionDeniedError, match="not this server's"):
        ask.models.list(extra_headers={"origin": "https://evil.example"})


def test_a_client_that_goes_away_ends_its_generation_streamed_or_not(server: Serving, ask: Any) -> None:
    asked = {"model": server.engine.base.record.id, "prompt": [QUESTION, "hello"], "max_tokens": LONG}
    with server.cut_short():
        stream = ask.completions.create(**asked, stream=True, extra_body={"ignore_eos": True})
        next(iter(stream))
        stream.close()
    with server.cut_short(), pytest.raises(openai.APITimeoutError):
        ask.with_options(timeout=0.5).completions.create(**asked, extra_body={"ignore_eos": True})
    cancelled = 'adapterhub_requests_total{adapter="",outcome="CANCELLED",rpc="OpenAI/Completions"} 2.0'
    server.wait_until(lambda: cancelled in generate_latest(server.metrics.registry).decode())


def test_the_async_client_streams_many_at_once_from_shared_steps(server: Serving, ask: Any) -> None:
    models = [server.engine.base.record.id, *(str(server.publish(f"many-{number}")) for number in range(3))]
    alone = [joined(ask.chat.completions.create(model=each, messages=TURNS, stream=True, **GREEDY)) for each in models]

    async def one(client: AsyncOpenAI, model: str) -> str:
        text = ""
        messages: Any = TURNS
        async for chunk in await client.chat.completions.create(model=model, messages=messages, stream=True, **GREEDY):
            text += chunk.choices[0].delta.content or ""
        return text

    async def all_at_once() -> list[str]:
        async with AsyncOpenAI(base_url=server.url, api_key="none", max_retries=0) as client:
            return await asyncio.gather(*(one(client, model) for model in models))

    before = server.engine.stats().steps
    assert asyncio.run(all_at_once()) == [text for text, _ in alone]
    assert server.engine.stats().steps - before < len(models) * GREEDY["max_tokens"]


def test_an_error_in_a_stream_that_has_begun_is_its_last_event(
    server: Serving, ask: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    ref = server.publish("fails-later")
    server.pace.seconds = 0.02
    stream = iter(
        ask.completions.create(
            model=str(ref), prompt="x", stream=True, max_tokens=LONG, extra_body={"ignore_eos": True}
        )
    )
    next(stream)

    def broken(*_: object) -> None:
        raise RuntimeError("a method with a bug")

    monkeypatch.setattr("adapterhub_server.metrics.Metrics.piece", broken)
    with pytest.raises(openai.APIError, match="internal error; the server's log has it under request"):
        list(stream)


def test_a_request_id_goes_in_and_out_and_a_call_is_counted_like_any_other(server: Serving, ask: Any) -> None:
    answer = ask.completions.with_raw_response.create(
        model=server.engine.base.record.id, prompt="x", extra_headers={"x-request-id": "mine-1"}, **GREEDY
    )
    assert answer.headers["x-request-id"] == "mine-1"
    assert answer.parse().id == "cmpl-mine-1"
    told = generate_latest(server.metrics.registry).decode()
    assert 'adapterhub_requests_total{adapter="",outcome="length",rpc="OpenAI/Completions"}' in told
