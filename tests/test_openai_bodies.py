"""What OpenAI's clients and vLLM's users send, as our own messages; and our answers as they read them."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncGenerator
from pathlib import Path
from typing import Any

import pytest
from adapterhub_server.http import chat_answer, completion_answer
from adapterhub_server.http.chat_body import read_chat
from adapterhub_server.http.completion_body import read_completion
from adapterhub_server.http.heading import Heading
from adapterhub_server.http.token_texts import TokenTexts
from google.protobuf.json_format import MessageToDict
from openai.types import Completion
from openai.types.chat import ChatCompletion, ChatCompletionChunk

from adapterhub.base import BaseModel
from adapterhub.errors import InvalidInputError
from adapterhub.pb.v1 import inference_pb2

SCHEMA = {"type": "object", "properties": {"city": {"type": "string"}}}
TOOL = {"type": "function", "function": {"name": "weather", "description": "Of a city.", "parameters": SCHEMA}}
ASKED = {"model": "base", "messages": [{"role": "user", "content": "hi"}], "seed": 1}
HEADING = Heading("id", "base", 0)


def told(message: inference_pb2.GenerateRequest) -> dict[str, Any]:
    return MessageToDict(message, preserving_proto_field_name=True)


def test_every_option_of_sampling_has_its_name() -> None:
    options: dict[str, Any] = {
        "temperature": 0.5,
        "top_k": 7,
        "top_p": 0.5,
        "seed": 3,
        "ignore_eos": True,
        "stop": ["a", "b"],
        "min_p": 0.25,
        "repetition_penalty": 1.5,
        "presence_penalty": 0.5,
        "frequency_penalty": -0.5,
        "logit_bias": {"5": -100},
        "min_tokens": 2,
        "bad_words": ["no"],
        "stop_token_ids": [9],
        "prompt_logprobs": 1,
        "lookup_tokens": 4,
    }
    message, _ = read_chat({**ASKED, **options, "max_tokens": 8, "logprobs": True, "top_logprobs": 5}, "base")
    sampling = told(message)["sampling"]
    expected = {**options, "seed": "3", "logit_bias": {"5": -100.0}, "max_new_tokens": 8, "logprobs": 5}
    assert sampling == expected
    assert set(sampling) == {field.name for field in inference_pb2.Sampling.DESCRIPTOR.fields}


def test_what_openai_defaults_to_is_what_is_asked() -> None:
    message, _ = read_chat({**ASKED, "stop": None, "user": "me"}, "base")
    assert told(message) == {"text": "hi", "sampling": {"temperature": 1.0, "seed": "1"}}
    first, second = (read_chat({name: value for name, value in ASKED.items() if name != "seed"}, "b") for _ in "ab")
    assert first[0].sampling.seed != second[0].sampling.seed
    (completion,) = read_completion({"model": "base", "prompt": "x", "seed": 1}, "base").messages
    assert completion.sampling.max_new_tokens == 16
    assert completion.prompt_format.kind == inference_pb2.PromptFormat.KIND_RAW


def test_model_names_the_base_an_adapter_or_a_task() -> None:
    assert [
        (read_chat({**ASKED, "model": name}, "base")[0].adapter, read_chat({**ASKED, "model": name}, "base")[0].task)
        for name in ("base", "team/orders:v2", "task:orders")
    ] == [("", ""), ("team/orders:v2", ""), ("", "orders")]
    shares = [{"adapter": "a", "weight": 0.25}, {"adapter": "b"}]
    message, _ = read_chat({**ASKED, "blend": shares, "route_key": "k"}, "base")
    assert [(each.adapter, each.weight) for each in message.blend.adapters] == [("a", 0.25), ("b", 1.0)]
    assert message.route_key == "k"


def test_a_chat_with_tools_is_a_chat_with_tools() -> None:
    call = {"id": "c1", "type": "function", "function": {"name": "weather", "arguments": '{"city":"Oslo"}'}}
    messages = [
        {"role": "developer", "content": "Be brief."},
        {"role": "user", "content": [{"type": "text", "text": "a"}, {"type": "text", "text": "b"}]},
        {"role": "assistant", "content": None, "tool_calls": [call], "refusal": None, "annotations": []},
        {"role": "tool", "tool_call_id": "c1", "content": "rain"},
    ]
    message, _ = read_chat({**ASKED, "messages": messages, "tools": [TOOL], "tool_choice": "required"}, "base")
    roles = [inference_pb2.Turn.Role.Name(turn.role) for turn in message.chat.turns]
    assert roles == ["ROLE_SYSTEM", "ROLE_USER", "ROLE_ASSISTANT", "ROLE_TOOL"]
    assert [turn.content for turn in message.chat.turns] == ["Be brief.", "a\nb", "", "rain"]
    assert message.chat.turns[2].tool_calls[0].arguments == '{"city":"Oslo"}'
    assert message.chat.turns[3].tool_call_id == "c1"
    assert (message.chat.tools[0].name, json.loads(message.chat.tools[0].parameters)) == ("weather", SCHEMA)
    assert message.chat.tool_choice == inference_pb2.TOOL_CHOICE_REQUIRED
    named = {"type": "function", "function": {"name": "weather"}}
    message, _ = read_chat({**ASKED, "tools": [TOOL], "tool_choice": named}, "base")
    assert (message.chat.tool_choice, message.chat.tool_name) == (inference_pb2.TOOL_CHOICE_REQUIRED, "weather")


STRUCTURES: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "json object": ({"response_format": {"type": "json_object"}}, {"json_schema": '{"type":"object"}'}),
    "json schema": (
        {"response_format": {"type": "json_schema", "json_schema": {"name": "x", "schema": SCHEMA, "strict": True}}},
        {"json_schema": json.dumps(SCHEMA)},
    ),
    "vLLM's": ({"structured_outputs": {"regex": "a+"}}, {"regex": "a+"}),
    "vLLM's json": ({"structured_outputs": {"json": SCHEMA}}, {"json_schema": json.dumps(SCHEMA)}),
    "vLLM's of old": ({"guided_choice": ["a", "b"]}, {"choice": {"texts": ["a", "b"]}}),
    "a grammar": ({"guided_grammar": 'start: "a"'}, {"grammar": 'start: "a"'}),
}


@pytest.mark.parametrize(("fields", "structure"), STRUCTURES.values(), ids=STRUCTURES.keys())
def test_structures_by_every_name_that_they_have(fields: dict[str, Any], structure: dict[str, Any]) -> None:
    assert told(read_chat({**ASKED, **fields}, "base")[0])["structure"] == structure
    assert "structure" not in told(read_chat({**ASKED, "response_format": {"type": "text"}}, "base")[0])


def test_completions_take_texts_and_token_ids_and_choices() -> None:
    asked = {"model": "base", "seed": 1, "n": 2, "best_of": 3}
    for prompt, expected in (
        ("a", [("a", [])]),
        (["a", "b"], [("a", []), ("b", [])]),
        ([1, 2], [("", [1, 2])]),
        ([[1], [2]], [("", [1]), ("", [2])]),
    ):
        messages = read_completion({**asked, "prompt": prompt}, "base").messages
        assert [(each.text, list(each.token_ids.ids)) for each in messages] == expected
        assert {(each.n, each.best_of) for each in messages} == {(2, 3)}
    for refused in ({"prompt": [["a"]]}, {"prompt": 3}, {"echo": 2}, {"suffix": "x"}, {"prompt": ["a"] * 129}):
        with pytest.raises(InvalidInputError) as error:
            read_completion({**asked, "prompt": "x", **refused}, "base")
        assert error.value.field in refused


@pytest.fixture(scope="module")
def texts(tiny_base: Path) -> TokenTexts:
    return TokenTexts(BaseModel.read_tokenizer(str(tiny_base)))


def test_several_choices_and_tool_calls_are_read_as_such(texts: TokenTexts) -> None:
    call = inference_pb2.ToolCall(id="c1", name="weather", arguments="{}")
    choices = [
        inference_pb2.Choice(text="a", finish_reason=inference_pb2.FINISH_REASON_STOP),
        inference_pb2.Choice(finish_reason=inference_pb2.FINISH_REASON_TOOL_CALLS, tool_calls=[call]),
    ]
    answer = inference_pb2.GenerateResponse(text="a", finish_reason=choices[0].finish_reason, choices=choices)
    read = ChatCompletion.model_validate(chat_answer.whole(HEADING, answer, texts))
    assert [choice.finish_reason for choice in read.choices] == ["stop", "tool_calls"]
    assert read.choices[1].message.content is None
    assert read.choices[1].message.tool_calls is not None
    assert read.choices[1].message.tool_calls[0].id == "c1"
    both = inference_pb2.GenerateResponse(choices=[choices[0]] * 2)
    completion = Completion.model_validate(completion_answer.whole(HEADING, [both, both], texts))
    assert [(choice.index, choice.text) for choice in completion.choices] == [(number, "a") for number in range(4)]


def test_an_echo_gives_the_prompt_back_and_its_tokens(texts: TokenTexts) -> None:
    asked = {"model": "base", "prompt": ["ab", "c"], "echo": True, "logprobs": 1}
    messages, _, echo = read_completion(asked, "base")
    assert echo
    assert [message.sampling.prompt_logprobs for message in messages] == [1, 1]
    likely = [inference_pb2.TokenLogprobs(logprob=-value) for value in (1.0, 2.0)]
    answer = inference_pb2.GenerateResponse(
        text="!",
        token_ids=[ord("!")],
        finish_reason=inference_pb2.FINISH_REASON_LENGTH,
        prompt_logprobs=likely[:1],
        logprobs=likely[1:],
    )
    echoes = [completion_answer.Echo("ab", [ord("a"), ord("b")])]
    (choice,) = completion_answer.whole(HEADING, [answer], texts, echoes)["choices"]
    logprobs = choice["logprobs"]
    assert choice["text"] == "ab!"
    assert logprobs["token_logprobs"] == [None, -1.0, -2.0]  # nothing comes before the first
    assert (len(logprobs["tokens"]), logprobs["text_offset"]) == (3, [0, 1, 2])


def test_streamed_choices_and_tool_calls_are_read_as_such(texts: TokenTexts) -> None:
    call = inference_pb2.ToolCall(id="c1", name="weather", arguments="{}")
    stop, calls = inference_pb2.FINISH_REASON_STOP, inference_pb2.FINISH_REASON_TOOL_CALLS
    usage = inference_pb2.Usage(prompt_tokens=2, generated_tokens=3)
    last = inference_pb2.Timings()

    async def pieces() -> AsyncGenerator[inference_pb2.GenerateStreamResponse]:
        yield inference_pb2.GenerateStreamResponse(text="a", adapter_digest="sha256:x")
        yield inference_pb2.GenerateStreamResponse(text="b", choice=1)
        yield inference_pb2.GenerateStreamResponse(finish_reason=stop)
        yield inference_pb2.GenerateStreamResponse(
            choice=1, finish_reason=calls, tool_calls=[call], usage=usage, timings=last
        )

    async def read() -> list[ChatCompletionChunk]:
        events = chat_answer.events(HEADING, pieces(), texts, include_usage=True)
        return [ChatCompletionChunk.model_validate(event) async for event in events]

    chunks = asyncio.run(read())
    assert [choice.index for chunk in chunks for choice in chunk.choices] == [0, 1, 0, 1]
    assert [choice.delta.role for chunk in chunks for choice in chunk.choices] == ["assistant", "assistant", None, None]
    assert [choice.finish_reason for chunk in chunks for choice in chunk.choices] == [None, None, "stop", "tool_calls"]
    delta = chunks[3].choices[0].delta
    assert delta.tool_calls is not None
    assert (delta.tool_calls[0].index, delta.tool_calls[0].id) == (0, "c1")
    assert [chunk.usage.total_tokens for chunk in chunks if chunk.usage] == [5]
    own = [chunk.model_extra["adapterhub"]["digest"] for chunk in chunks if chunk.model_extra]
    assert own == ["sha256:x"]
