"""What a request may ask arrives through every door: each gives what our own client gets for the same."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import grpc
import pytest
from chat_templates import TEMPLATES
from google.protobuf.json_format import ParseDict
from openai import BadRequestError, OpenAI
from prometheus_client import generate_latest
from scripted_base import save_scripted_base
from serving import Serving, serving
from test_kserve import asked, texts_of

from adapterhub.base import BaseModel
from adapterhub.client import Chat, Tool, Turn
from adapterhub.errors import InvalidInputError
from adapterhub.pb.compatible import fmaas_pb2, fmaas_pb2_grpc, kserve_pb2_grpc
from adapterhub.prompt_router import Candidate, Pick, PickPrompt, PromptRouter
from adapterhub.structure import Structure

PROMPT = "hello, hello, hello"
COUNT = 24
SAMPLING: dict[str, Any] = {
    "temperature": 0.9,
    "top_k": 40,
    "top_p": 0.9,
    "min_p": 0.001,
    "seed": 5,
    "repetition_penalty": 1.5,
    "presence_penalty": 0.5,
    "frequency_penalty": 0.25,
    "min_tokens": 6,
    "bad_words": ["a"],
    "stop_token_ids": [70],
    "lookup_tokens": 4,
}
BLEND = {"team/a": 0.75, "team/b": -0.5}
DIGITS = "[0-9]{4}-[a-f]{2}"


class TeamA(PromptRouter):
    """Picks one adapter, whatever is asked."""

    name = "team-a"

    def fit(self, candidates: Sequence[Candidate]) -> PickPrompt:
        return lambda prompt: Pick("team/a", 1.0)


@pytest.fixture(scope="module")
def server(tiny_base: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Serving]:
    base = BaseModel.load(str(tiny_base), quantization="none")
    with serving(base, tmp_path_factory.mktemp("doors"), http=True, router=TeamA()) as running:
        for name in BLEND:
            running.publish(name, created="2026-01-01T00:00:00+00:00")
        yield running
        running.wait_idle()


@pytest.fixture(scope="module")
def ask(server: Serving) -> Iterator[Any]:
    with OpenAI(base_url=server.url, api_key="none", max_retries=0) as client:
        yield client


@pytest.fixture(scope="module")
def channel(server: Serving) -> Iterator[grpc.Channel]:
    with grpc.insecure_channel(server.address) as opened:
        yield opened


def over_http(ask: Any, model: str, **options: Any) -> list[str]:
    body = {"temperature": 0, "max_tokens": COUNT, "prompt_format": "raw", **options}
    return [choice.text for choice in ask.completions.create(model=model, prompt=PROMPT, extra_body=body).choices]


def over_kserve(channel: grpc.Channel, model: str, **parameters: Any) -> list[str]:
    stub: Any = kserve_pb2_grpc.GRPCInferenceServiceStub(channel)  # type: ignore[no-untyped-call]
    request = asked(model, PROMPT, max_tokens=COUNT)
    text = json.dumps(parameters).encode()
    request.inputs.add(name="sampling_parameters", datatype="BYTES", shape=[1]).contents.bytes_contents.append(text)
    return texts_of(stub.ModelInfer(request, metadata=(("adapterhub-prompt-format", "raw"),)))


def over_fmaas(channel: grpc.Channel, adapter: str, **params: Any) -> list[str]:
    stub: Any = fmaas_pb2_grpc.GenerationServiceStub(channel)  # type: ignore[no-untyped-call]
    stopping = {"max_new_tokens": COUNT, "include_stop_sequence": False, **params.pop("stopping", {})}
    request = fmaas_pb2.BatchedGenerationRequest(
        adapter_id=adapter,
        requests=[fmaas_pb2.GenerationRequest(text=PROMPT)],
        params=ParseDict({"stopping": stopping, **params}, fmaas_pb2.Parameters()),
    )
    answers = stub.Generate(request, metadata=(("adapterhub-prompt-format", "raw"),)).responses
    return [answer.text for answer in answers]


def test_every_option_of_sampling_arrives(server: Serving, ask: Any, channel: grpc.Channel) -> None:
    base, bias = server.engine.base.record.id, {80: 3.0, 81: -100.0}
    ours = server.client.generate(
        PROMPT, adapter="team/a", kind="raw", max_new_tokens=COUNT, logit_bias=bias, **SAMPLING
    ).text
    assert over_http(ask, "team/a", logit_bias=bias, **SAMPLING) == [ours]
    assert over_kserve(channel, "team/a", logit_bias=bias, **SAMPLING) == [ours]
    assert over_kserve(channel, base, logit_bias={"80": 100})[0] != over_kserve(channel, base)[0]
    known = {name: SAMPLING[name] for name in ("temperature", "top_k", "top_p", "seed", "repetition_penalty")}
    ours = server.client.generate(
        PROMPT, adapter="team/a", kind="raw", max_new_tokens=COUNT, min_tokens=9, stop=["e"], **known
    ).text
    penalty = known.pop("repetition_penalty")
    stopping = {"min_new_tokens": 9, "stop_sequences": ["e"]}
    decoding = {"repetition_penalty": penalty}
    assert over_fmaas(channel, "team/a", method="SAMPLE", sampling=known, stopping=stopping, decoding=decoding) == [
        ours
    ]


def test_structures_arrive(server: Serving, ask: Any, channel: grpc.Channel) -> None:
    ours = server.client.generate(
        PROMPT, adapter="team/b", kind="raw", max_new_tokens=COUNT, structure=Structure(regex=DIGITS)
    ).text
    assert re.fullmatch(DIGITS, ours)
    assert over_http(ask, "team/b", structured_outputs={"regex": DIGITS}) == [ours]
    assert over_kserve(channel, "team/b", regex=DIGITS) == [ours]
    assert over_fmaas(channel, "team/b", decoding={"regex": DIGITS}) == [ours]


def test_blends_arrive(server: Serving, ask: Any, channel: grpc.Channel) -> None:
    base = server.engine.base.record.id
    ours = server.client.generate(PROMPT, blend=BLEND, kind="raw", max_new_tokens=COUNT)
    shares = [{"adapter": name, "weight": weight} for name, weight in BLEND.items()]
    assert over_http(ask, base, blend=shares) == over_kserve(channel, base, blend=BLEND) == [ours.text]
    with pytest.raises(BadRequestError, match="accepted: -4 to 4") as refused:
        over_http(ask, base, blend=[{"adapter": "team/a", "weight": 9}])
    assert refused.value.param == "blend.0.weight"
    assert 'method="blend"' in generate_latest(server.metrics.registry).decode()


def test_several_answers_arrive_whole_and_streamed(server: Serving, ask: Any) -> None:
    options: dict[str, Any] = {"temperature": 0.9, "seed": 2, "lookup_tokens": 2}
    ours = server.client.generate(
        PROMPT,
        adapter="team/a",
        kind="raw",
        max_new_tokens=COUNT,
        n=3,
        structure=Structure(regex="[a-z]{9}"),
        **options,
    )
    texts = [choice.text for choice in ours.choices]
    assert len(set(texts)) == 3
    asked_for = {"structured_outputs": {"regex": "[a-z]{9}"}, **options}
    assert over_http(ask, "team/a", n=3, **asked_for) == texts
    streamed = ["", "", ""]
    body = {"max_tokens": COUNT, "prompt_format": "raw", **asked_for}
    for chunk in ask.completions.create(model="team/a", prompt=PROMPT, n=3, stream=True, extra_body=body):
        for choice in chunk.choices:
            streamed[choice.index] += choice.text
    assert streamed == texts


def test_who_names_the_base_gets_it_though_a_router_would_pick(
    server: Serving, ask: Any, channel: grpc.Channel
) -> None:
    base = server.engine.base.record.id
    picked = server.client.generate(PROMPT, kind="raw", max_new_tokens=COUNT)
    assert (picked.adapter, picked.route.by) == ("team/a", "router")
    ids = server.client.tokenize(PROMPT, kind="raw")
    plain = server.client.generate(list(ids), max_new_tokens=COUNT)  # no router looks at token ids
    assert plain.text != picked.text
    assert over_http(ask, base) == over_kserve(channel, base) == over_fmaas(channel, "") == [plain.text]
    assert over_http(ask, "") == [picked.text]


def test_tools_arrive_and_calls_come_back(tmp_path: Path) -> None:
    schema = {"type": "object", "properties": {"u": {"enum": ["C", "F"]}}, "required": ["u"]}
    schema["additionalProperties"] = False  # type: ignore[assignment]
    marks = ("<tool_call>", "</tool_call>")
    folder = save_scripted_base(tmp_path / "base", TEMPLATES["hermes"], ("No ", "tools."), special=marks)
    base = BaseModel.load(str(folder), quantization="none")
    function: Any = {"type": "function", "function": {"name": "heat", "parameters": schema}}
    with (
        serving(base, tmp_path / "serving", http=True) as running,
        OpenAI(base_url=running.url, api_key="none", max_retries=0) as ask,
    ):
        chat = Chat([Turn("user", "?")], [Tool("heat", "", schema)], "required", "heat")
        ours = running.client.generate(chat, temperature=1.0, seed=1, n=2)
        options: dict[str, Any] = {
            "model": base.record.id,
            "messages": [{"role": "user", "content": "?"}],
            "tools": [function],
            "tool_choice": {"type": "function", "function": {"name": "heat"}},
            "temperature": 1.0,
            "seed": 1,
            "n": 2,
        }
        theirs = ask.chat.completions.create(**options)
        expected = [(choice.finish_reason, choice.tool_calls[0].name, choice.tool_calls[0].arguments)
                    for choice in ours.choices]  # fmt: skip
        got: list[Any] = []
        for choice in theirs.choices:
            (call,) = choice.message.tool_calls or []
            assert call.type == "function"
            got.append((choice.finish_reason, call.function.name, call.function.arguments))
        assert got == expected
        assert all(json.loads(arguments)["u"] in ("C", "F") for *_, arguments in got)
        deltas = [
            call
            for chunk in ask.chat.completions.create(**options | {"n": 1}, stream=True)
            for choice in chunk.choices
            for call in choice.delta.tool_calls or ()
        ]
        assert [(call.function.name, call.function.arguments) for call in deltas] == [got[0][1:]]
        turn = {"role": "assistant", "tool_calls": [call.model_dump() for call in theirs.choices[0].message.tool_calls]}
        back = {"role": "tool", "content": "21", "tool_call_id": turn["tool_calls"][0]["id"]}
        messages = [*options["messages"], turn, back]
        said = ask.chat.completions.create(
            **options | {"messages": messages, "tool_choice": "auto", "n": 1, "temperature": 0}
        )
        assert said.choices[0].message.content == "No tools."
        with pytest.raises(InvalidInputError, match="not accepted beside structure"):
            running.client.generate(chat, structure=Structure(regex="a"))
