"""Chats with tools, from the request to the calls in the answer; whose template applies, and for how long."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from adapterhub_server.chats import Chat as ReadChat
from adapterhub_server.prompts import Prompts
from adapterhub_server.time_limit import time_limit
from chat_templates import TEMPLATES, WITHOUT_TOOLS, tokenizer
from conftest import save_random_adapter
from google.protobuf import json_format
from scripted_base import save_scripted_base
from serving import Serving, serving

from adapterhub.adapter import PROVENANCE_FILE, Provenance
from adapterhub.base import BaseModel
from adapterhub.client import Chat, Client, Generation, Route, RouteTarget, Tool, ToolCall, Turn
from adapterhub.errors import AdapterHubError, InvalidInputError
from adapterhub.pb.v1 import inference_pb2
from adapterhub.prompt_format import PromptFormat

WEATHER = Tool(
    "get_weather", "The weather.", {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}
)
PING = Tool("ping")
ASKED = Turn("user", "How is it?")
SAYS = (
    "Let me ",
    "see.\n",
    "<tool_call>",
    '{"name": "get_wea',
    'ther", "arguments": {"city": "B',
    'ern"}}',
    "</tool_call>",
)
CALL_TEXT = '<tool_call>{"name": "get_weather", "arguments": {"city": "Bern"}}</tool_call>'
MARKS = ("<tool_call>", "</tool_call>")


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Serving]:
    folder = save_scripted_base(tmp_path_factory.mktemp("scripted"), TEMPLATES["hermes"], SAYS, special=MARKS)
    with serving(BaseModel.load(str(folder), quantization="none"), tmp_path_factory.mktemp("serving")) as running:
        yield running


def called(answer: Generation) -> list[tuple[str, Any]]:
    return [(call.name, json.loads(call.arguments)) for call in answer.tool_calls]


def test_a_call_comes_apart_from_the_text_though_its_marks_are_special_tokens(server: Serving) -> None:
    answer = server.client.generate(Chat([ASKED], [WEATHER, PING]))
    assert (answer.text, answer.finish_reason) == ("Let me see.", "tool_calls")
    assert called(answer) == [("get_weather", {"city": "Bern"})]
    assert answer.usage.generated_tokens == len(answer.token_ids) == len(SAYS) + 1
    stopped = server.client.generate(Chat([ASKED], [WEATHER]), stop=["never"], logprobs=0)
    assert (stopped.text, called(stopped), len(stopped.logprobs)) == (answer.text, called(answer), len(SAYS) + 1)


def test_a_stream_gives_text_before_a_call_and_the_call_in_its_last_piece(server: Serving) -> None:
    server.pace.seconds = 0.01  # so that tokens come in pieces of their own
    try:
        pieces = list(server.client.generate_stream(Chat([ASKED], [WEATHER])))
    finally:
        server.pace.seconds = 0
    assert [piece.text for piece in pieces if piece.text] == ["Let me", " see."]
    assert [len(piece.tool_calls) for piece in pieces] == [0] * (len(pieces) - 1) + [1]
    assert pieces[-1].finish_reason == "tool_calls"


def test_what_is_no_whole_call_of_a_tool_that_was_offered_is_text(server: Serving) -> None:
    cut = server.client.generate(Chat([ASKED], [WEATHER]), max_new_tokens=5)
    assert (cut.text, cut.tool_calls, cut.finish_reason) == ("".join(SAYS[:5]), (), "length")
    other = server.client.generate(Chat([ASKED], [PING]))
    assert (other.text, other.tool_calls, other.finish_reason) == ("Let me see.\n" + CALL_TEXT, (), "stop")


def test_without_tools_and_with_none_to_choose_an_answer_is_as_ever(server: Serving) -> None:
    plain, none = (server.client.generate(chat) for chat in ([ASKED], Chat([ASKED], [WEATHER], "none")))
    assert plain.text == none.text == "Let me see.\n" + CALL_TEXT[len(MARKS[0]) : -len(MARKS[1])]
    assert (none.tool_calls, none.finish_reason, none.usage) == ((), "stop", plain.usage)


def test_a_conversation_goes_on_with_calls_and_what_the_tools_gave_as_the_template_writes_it(server: Serving) -> None:
    call = ToolCall("call_1", "get_weather", '{"city": "Bern"}')
    turns = [ASKED, Turn("assistant", "", [call]), Turn("tool", "sunny", tool_call_id="call_1")]
    plain: list[dict[str, Any]] = [
        {"role": "user", "content": ASKED.content},
        {
            "role": "assistant",
            "content": "",
            "tool_calls": [{"type": "function", "function": {"name": "get_weather", "arguments": {"city": "Bern"}}}],
        },
        {"role": "tool", "content": "sunny"},
    ]
    made = server.engine.base.tokenizer
    function = {"name": WEATHER.name, "description": WEATHER.description, "parameters": WEATHER.parameters}
    expected = made.apply_chat_template(
        plain, tools=[{"type": "function", "function": function}], add_generation_prompt=True, return_dict=False
    )
    assert server.client.tokenize(Chat(turns, [WEATHER])) == tuple(expected)
    assert called(server.client.generate(Chat(turns, [WEATHER]))) == [("get_weather", {"city": "Bern"})]


def message(**fields: Any) -> inference_pb2.GenerateRequest:
    chat = {"turns": [{"role": "ROLE_USER", "content": "?"}], **fields}
    return json_format.ParseDict({"chat": chat}, inference_pb2.GenerateRequest())


def test_names_and_ids_are_what_a_familys_template_takes(tmp_path: Path, server: Serving) -> None:
    template = "{{ tools }}{% for m in messages %}{{ m }}[TOOL_CALLS]{% endfor %}"
    turns = [
        {"role": "ROLE_USER"},
        {"role": "ROLE_ASSISTANT", "tool_calls": [{"id": "call_abcdefghijkl", "name": "ping"}]},
        {"role": "ROLE_TOOL", "tool_call_id": "call_abcdefghijkl", "content": "pong"},
    ]
    made = tokenizer(tmp_path, template)
    text = made.decode(Prompts(made, limits=server.engine.limits).encode(message(turns=turns), None).token_ids)
    chat = ReadChat.of(message(turns=turns).chat).with_short_ids()
    (call,) = chat.turns[1]["tool_calls"]
    assert chat.turns[2]["tool_call_id"] == call["id"]
    assert len(call["id"]) == 9
    assert call["id"].isalnum()
    assert str(chat.turns[2]) in text
    assert "'name': 'ping'" in str(chat.turns[2])


SCHEMA = '{"type": "object"}'
REFUSED: dict[str, tuple[dict[str, Any], str]] = {
    "a name": ({"tools": [{"name": "get weather"}]}, "chat.tools.0.name"),
    "no name": ({"tools": [{"description": "x"}]}, "chat.tools.0.name"),
    "twice": ({"tools": [{"name": "a"}, {"name": "a"}]}, "chat.tools.1.name"),
    "too many": ({"tools": [{"name": f"t{number}"} for number in range(129)]}, "chat.tools"),
    "no JSON": ({"tools": [{"name": "a", "parameters": "{"}]}, "chat.tools.0.parameters"),
    "no object": ({"tools": [{"name": "a", "parameters": '{"type": "array"}'}]}, "chat.tools.0.parameters"),
    "properties": ({"tools": [{"name": "a", "parameters": '{"properties": [1]}'}]}, "chat.tools.0.parameters"),
    "required": ({"tools": [{"name": "a", "parameters": '{"required": "x"}'}]}, "chat.tools.0.parameters"),
    "long": ({"tools": [{"name": "a", "parameters": SCHEMA + " " * 65536}]}, "chat.tools.0.parameters"),
    "long in all": ({"tools": [{"name": "a", "description": "x" * (1 << 20) + "y"}]}, "chat.tools"),
    "required without tools": ({"tool_choice": "TOOL_CHOICE_REQUIRED"}, "chat.tool_choice"),
    "an unknown choice": ({"tool_choice": 9}, "chat.tool_choice"),
    "a name beside auto": ({"tools": [{"name": "a"}], "tool_name": "a"}, "chat.tool_name"),
    "an unknown tool": (
        {"tools": [{"name": "a"}], "tool_choice": "TOOL_CHOICE_REQUIRED", "tool_name": "b"},
        "chat.tool_name",
    ),
    "a user's call": (
        {"turns": [{"role": "ROLE_USER", "tool_calls": [{"id": "1", "name": "a"}]}]},
        "chat.turns.0.tool_calls",
    ),
    "an answer to nothing": ({"turns": [{"role": "ROLE_TOOL", "tool_call_id": "1"}]}, "chat.turns.0.tool_call_id"),
    "a tool's turn without an id": ({"turns": [{"role": "ROLE_TOOL"}]}, "chat.turns.0.tool_call_id"),
    "a user's turn with an id": ({"turns": [{"role": "ROLE_USER", "tool_call_id": "1"}]}, "chat.turns.0.tool_call_id"),
    "arguments": (
        {"turns": [{"role": "ROLE_ASSISTANT", "tool_calls": [{"id": "1", "name": "a", "arguments": "[]"}]}]},
        "chat.turns.0.tool_calls.0.arguments",
    ),
    "an id twice": (
        {"turns": [{"role": "ROLE_ASSISTANT", "tool_calls": [{"id": "1", "name": "a"}] * 2}]},
        "chat.turns.0.tool_calls.1.id",
    ),
}


@pytest.mark.parametrize(("fields", "field"), REFUSED.values(), ids=REFUSED)
def test_a_chat_that_is_not_accepted_is_refused_by_name(fields: dict[str, Any], field: str) -> None:
    with pytest.raises(InvalidInputError) as refused:
        ReadChat.of(message(**fields).chat)
    assert refused.value.field == field
    assert str(refused.value).startswith(field)


def test_a_base_whose_template_knows_no_tools_refuses_them(tmp_path: Path, server: Serving) -> None:
    prompts = Prompts(tokenizer(tmp_path, WITHOUT_TOOLS), limits=server.engine.limits)
    with pytest.raises(InvalidInputError, match=r"chat\.tools: the base's chat template does not know tools"):
        prompts.encode(message(tools=[{"name": "a"}]), None)
    hidden = prompts.encode(message(tools=[{"name": "a"}], tool_choice="TOOL_CHOICE_NONE"), None)
    assert hidden == prompts.encode(message(), None)


def test_a_call_that_has_to_be_made_becomes_the_answers_structure(server: Serving) -> None:
    prompts = Prompts(server.engine.base.tokenizer, limits=server.engine.limits)
    tools = [{"name": "get_weather", "parameters": json.dumps(WEATHER.parameters)}, {"name": "ping"}]
    one_of_all = prompts.encode(message(tools=tools, tool_choice="TOOL_CHOICE_REQUIRED"), None).must_be
    named = prompts.encode(message(tools=tools, tool_choice="TOOL_CHOICE_REQUIRED", tool_name="ping"), None).must_be
    opens, closes = (f"<[{server.engine.base.tokenizer.convert_tokens_to_ids(mark)}]>" for mark in MARKS)
    assert one_of_all.startswith(f"start: {opens} ")
    assert closes in one_of_all
    assert all(name in one_of_all for name in ("get_weather", "ping", "city"))
    assert "get_weather" not in named
    assert prompts.encode(message(tools=tools), None).must_be == ""
    beside = message(tools=tools, tool_choice="TOOL_CHOICE_REQUIRED")
    beside.structure.regex = "a+"
    with pytest.raises(AdapterHubError, match="not accepted beside structure"):
        _ = generate(server.client, beside)


def generate(client: Client, request: inference_pb2.GenerateRequest) -> Generation:
    return client._ask(client._calls.generate(request), None)


def test_the_template_is_the_bases_whatever_an_adapter_brings(server: Serving, tmp_path: Path) -> None:
    base = server.engine.base
    folders = [save_random_adapter(tmp_path / name, "lora", base.shape, seed=7) for name in ("plain", "armed")]
    record = Provenance(
        method="lora", base=base.record, prompt_format=PromptFormat.of(base.tokenizer, "chat", "Be kind.")
    )
    for folder in folders:
        (folder / PROVENANCE_FILE).write_text(json.dumps(record.model_dump()))
    hostile = "{{ cycler.__init__.__globals__.os.system('touch " + str(tmp_path / "mark") + "') }}obey"
    (folders[1] / "chat_template.jinja").write_text(hostile)
    (folders[1] / "tokenizer_config.json").write_text(json.dumps({"chat_template": hostile, "eos_token": "?"}))
    for folder in folders:
        server.store.publish(folder, folder.name)
    asked = [ASKED]
    assert server.client.tokenize(asked, adapter="armed") == server.client.tokenize(asked, adapter="plain")
    plain, armed = (server.client.generate(asked, adapter=name, max_new_tokens=4) for name in ("plain", "armed"))
    assert armed.token_ids == plain.token_ids
    assert not (tmp_path / "mark").exists()


HOSTILE = {
    "globals": "{{ cycler.__init__.__globals__ }}",
    "classes": "{{ ''.__class__.__mro__[1].__subclasses__() }}",
    "a turn's methods": "{{ messages.append(1) }}",
    "imports": "{% include '/etc/passwd' %}",
    "recursion": "{% macro m() %}{{ m() }}{% endmacro %}{{ m() }}",
    "a huge range": "{% for i in range(10 ** 12) %}{% endfor %}",
    "loops in loops": "{% for i in range(90000) %}{% for j in range(90000) %}{% endfor %}{% endfor %}",
    "a long text": "{% for i in range(90000) %}{{ 'x' * 1000 }}{% endfor %}",
    "a syntax error": "{% for %}",
}


@pytest.mark.parametrize("template", HOSTILE.values(), ids=HOSTILE)
def test_a_hostile_template_reaches_nothing_and_ends_in_time(template: str, tmp_path: Path, server: Serving) -> None:
    made = tokenizer(tmp_path, template)
    prompts = Prompts(made, limits=server.engine.limits, render_seconds=0.5)
    with pytest.raises(InvalidInputError, match="the base's chat template"):
        prompts.encode(message(), None)
    made.chat_template = TEMPLATES["hermes"]
    assert Prompts(made, limits=server.engine.limits).encode(message(), None).token_ids  # this thread goes on


def spin() -> None:
    with time_limit(0.05, InvalidInputError("over")):
        while True:
            pass


def test_a_limit_in_time_ends_the_loop_and_nothing_after_it() -> None:
    with pytest.raises(InvalidInputError, match="over"):
        spin()
    for _ in range(200):  # where the time is over as the work ends, the error comes inside or not at all
        try:
            with time_limit(0.0005, InvalidInputError("over")):
                sum(range(20_000))
        except InvalidInputError:
            pass
    with pytest.raises(KeyError), time_limit(30, InvalidInputError("over")):
        raise KeyError("its own")


def test_a_routes_system_prompt_is_the_one_of_chats_that_bring_none(server: Serving) -> None:
    def prompt_tokens(prompt: Any, task: str, **fields: Any) -> int:
        return server.client.generate(prompt, task=task, max_new_tokens=1, **fields).usage.prompt_tokens

    server.client.set_route(Route("plain", (RouteTarget(""),)))
    server.client.set_route(Route("ruled", (RouteTarget("gone"),), fallback="base", system_prompt="Be brief."))
    assert server.client.routes()[1].system_prompt == "Be brief."
    system, asked = Turn("system", "Be brief."), Turn("user", "x")
    with_it = prompt_tokens([system, asked], "plain")
    assert with_it > prompt_tokens([asked], "plain")
    assert (
        prompt_tokens([asked], "ruled")
        == prompt_tokens("x", "ruled")
        == prompt_tokens("x", "ruled", kind="chat")
        == with_it
    )
    longer = prompt_tokens([Turn("system", "Be brief, please."), asked], "plain")
    assert prompt_tokens([Turn("system", "Be brief, please."), asked], "ruled") == longer
    assert prompt_tokens("x", "ruled", system_prompt="Be brief, please.") == longer
    assert prompt_tokens("x", "ruled", kind="raw") == 1
    with pytest.raises(InvalidInputError, match="system_prompt"):
        server.client.set_route(Route("long", (RouteTarget(""),), system_prompt="x" * 65537))
