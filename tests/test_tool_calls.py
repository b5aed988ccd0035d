"""Calls of tools read out of what a model wrote, whatever it wrote and however it is cut."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import trl
from chat_templates import TEMPLATES, WITHOUT_TOOLS, tokenizer
from hypothesis import given, settings
from hypothesis import strategies as st

from adapterhub.errors import InvalidInputError
from adapterhub.prompt_format import PromptFormat
from adapterhub.tool_calls import CallReader, Tool, ToolUse
from adapterhub.tool_calls.known import KNOWN

FORMS = {form.name: form for form in KNOWN}
WEATHER = Tool(
    "get_weather",
    "The weather of a city.",
    {
        "type": "object",
        "properties": {
            "city": {"type": "string"},
            "days": {"type": "integer"},
            "parts": {"type": "array"},
            "unit": {"enum": ["C", "F"]},
        },
        "required": ["city"],
    },
)
PING = Tool("ping", "Answers.", {"type": "object", "properties": {}})
TOOLS = {tool.name: tool for tool in (WEATHER, PING)}

Calls = list[tuple[str, Any]]


def read(form: str, *pieces: str) -> tuple[str, Calls]:
    """The text beside the calls, and the calls."""
    reader = CallReader(FORMS[form], TOOLS)
    text = "".join([*map(reader.push, pieces), reader.flush()])
    assert len({call.id for call in reader.calls}) == len(reader.calls)
    assert all(call.id.startswith("call_") for call in reader.calls)
    return text, [(call.name, json.loads(call.arguments)) for call in reader.calls]


CITY = ("get_weather", {"city": "Bern"})
READ: dict[str, tuple[str, str, tuple[str, Calls]]] = {
    "one": ("hermes", '<tool_call>\n{"name": "ping", "arguments": {}}\n</tool_call>', ("", [("ping", {})])),
    "text around": (
        "hermes",
        'Let me see.\n\n<tool_call>{"name": "ping"}</tool_call> There.\n',
        ("Let me see. There.\n", [("ping", {})]),
    ),
    "two": (
        "hermes",
        '<tool_call>{"name":"ping"}</tool_call>\n<tool_call>{"name":"get_weather","arguments":{"city":"Bern"}}'
        "</tool_call>\n",
        ("", [("ping", {}), CITY]),
    ),
    "braces and marks in strings": (
        "hermes",
        '<tool_call>{"name": "get_weather", "arguments": {"city": "}</tool_call>{\\"<tool_call>{"}}</tool_call>!',
        ("!", [("get_weather", {"city": '}</tool_call>{"<tool_call>{'})]),
    ),
    "unclosed, and whole": ("hermes", '<tool_call>{"name": "ping"}', ("", [("ping", {})])),
    "a string for half a pair": (
        "hermes",
        '<tool_call>{"name": "get_weather", "arguments": {"city": "\\ud800"}}</tool_call>',
        ("", [("get_weather", {"city": "\ud800"})]),
    ),
    "bare": ("llama", ' {"name": "get_weather", "parameters": {"city": "Bern"}}', ("", [CITY])),
    "behind a mark": ("llama", 'So: <|python_tag|>{"name": "ping", "parameters": {}}', ("So:", [("ping", {})])),
    "several, with semicolons": (
        "llama",
        '{"name": "ping", "parameters": {}}; {"name": "get_weather", "parameters": {"city": "Bern"}}',
        ("", [("ping", {}), CITY]),
    ),
    "a list": (
        "mistral",
        'Yes.[TOOL_CALLS] [{"name": "ping", "arguments": {}}, {"name": "get_weather", "arguments": {"city": "Bern"}}]',
        ("Yes.", [("ping", {}), CITY]),
    ),
    "names": (
        "mistral-named",
        '[TOOL_CALLS]ping[ARGS]{}[TOOL_CALLS]get_weather[CALL_ID]a1B2c3D4e[ARGS]{"city": "Bern"}',
        ("", [("ping", {}), CITY]),
    ),
    "tags, with types of the schema": (
        "function-tags",
        "<tool_call>\n<function=get_weather>\n<parameter=city>\n<b>\n</parameter>\n12\n</parameter>\n<parameter=days>\n3\n"
        "</parameter>\n<parameter=parts>\n[1, {}]\n</parameter>\n</function>\n</tool_call>",
        ("", [("get_weather", {"city": "<b>\n</parameter>\n12", "days": 3, "parts": [1, {}]})]),
    ),
    "tags without arguments": (
        "function-tags",
        "<tool_call><function=ping></function></tool_call>",
        ("", [("ping", {})]),
    ),
    "keys and values": (
        "argument-tags",
        "<tool_call>get_weather\n<arg_key>city</arg_key>\n<arg_value>7</arg_value>\n<arg_key>days</arg_key>\n"
        "<arg_value>many</arg_value>\n</tool_call>",
        ("", [("get_weather", {"city": "7", "days": "many"})]),
    ),
    "an action": (
        "command",
        '<|START_ACTION|>[\n{"tool_call_id": "0", "tool_name": "ping", "parameters": {}}\n]<|END_ACTION|>',
        ("", [("ping", {})]),
    ),
    "strings between marks": (
        "function-gemma",
        "<start_function_call>call:get_weather{city:<escape>a{b},[c]:<escape>,days:3,parts:[<escape>x<escape>,{y:true}]}"
        "<end_function_call>",
        ("", [("get_weather", {"city": "a{b},[c]:", "days": 3, "parts": ["x", {"y": True}]})]),
    ),
}


@pytest.mark.parametrize(("form", "text", "expected"), READ.values(), ids=READ)
def test_calls_are_read_whole_and_letter_by_letter(form: str, text: str, expected: tuple[str, Calls]) -> None:
    assert read(form, text) == read(form, *text) == expected


NO_CALLS = {
    "unclosed": ("hermes", 'a <tool_call>{"name": "ping"'),
    "no JSON": ("hermes", "a <tool_call>{no}</tool_call> b"),
    "an unknown tool": ("hermes", '<tool_call>{"name": "rm", "arguments": {}}</tool_call>'),
    "arguments that are none": ("hermes", '<tool_call>{"name": "ping", "arguments": [1]}</tool_call>'),
    "NaN": ("hermes", '<tool_call>{"name": "ping", "arguments": {"x": NaN}}</tool_call>'),
    "no string for a name": ("hermes", '<tool_call>{"name": ["ping"]}</tool_call>'),
    "nested without end": ("hermes", '<tool_call>{"name": ' + "[" * 100_000),
    "a number of many digits": (
        "hermes",
        '<tool_call>{"name": "ping", "arguments": {"x": ' + "9" * 5000 + "}}</tool_call>",
    ),
    "marks alone": ("hermes", "<tool_call>" * 2000 + "}</tool_call>" * 2000),
    "a JSON answer": ("llama", '{"name": "Bern", "parameters": {"people": 134000}}'),
    "text behind it": ("llama", '{"name": "ping", "parameters": {}} is a call'),
    "code": ("llama", "<|python_tag|>print(1)"),
    "a call in a sentence": ("llama", 'I write {"name": "ping", "parameters": {}}'),
    "an empty list": ("mistral", "[TOOL_CALLS][]"),
    "a list of no calls": ("mistral", '[TOOL_CALLS]["ping"]'),
    "no arguments": ("mistral-named", "[TOOL_CALLS]ping and more"),
    "no end of a function": ("function-tags", "<tool_call><function=ping></tool_call>"),
    "a key without a value": ("argument-tags", "<tool_call>ping\n<arg_key>x</arg_key></tool_call>"),
    "an open string": ("function-gemma", "<start_function_call>call:ping{x:<escape>y}<end_function_call>"),
    "depth": ("function-gemma", "<start_function_call>call:ping{x:" + "[" * 50_000),
}


@pytest.mark.parametrize(("form", "text"), NO_CALLS.values(), ids=NO_CALLS)
def test_what_is_no_call_of_a_tool_stays_the_text_it_is(form: str, text: str) -> None:
    half = len(text) // 2
    assert read(form, text) == read(form, text[:half], text[half:]) == (text, [])


def test_text_before_a_call_is_not_held_and_a_failed_one_is_given_where_it_fails() -> None:
    reader = CallReader(FORMS["hermes"], TOOLS)
    assert reader.push("I think <") == "I think"
    assert reader.push("b> so. ") == " <b> so."
    assert reader.push("<tool_call>") == ""
    assert reader.push("but no") == " <tool_call>but no"
    assert reader.push('<tool_call>{"name": "ping"}</tool_call> Done') == " Done"
    assert [call.name for call in reader.calls] == ["ping"]


FRAGMENTS = {
    form: sorted(
        {*FORMS[form].marks, *(text for kind, text, _ in READ.values() if kind == form), '{"name": "', "}", "\n"}
    )
    for form in FORMS
    if form != "gemma"
}


@settings(max_examples=150)
@given(st.data())
def test_pieces_and_calls_are_the_whole_answer_however_it_is_cut(data: st.DataObject) -> None:
    form = data.draw(st.sampled_from(sorted(FRAGMENTS)))
    parts = data.draw(st.lists(st.sampled_from(FRAGMENTS[form]) | st.text(max_size=6), max_size=6))
    text = "".join(parts)
    cuts = sorted(data.draw(st.lists(st.integers(0, len(text)), max_size=8)))
    pieces = [text[begin:end] for begin, end in zip([0, *cuts], [*cuts, len(text)], strict=True)]
    assert read(form, *pieces) == read(form, text)
    reader = CallReader(FORMS[form], {})  # without tools nothing is a call, and nothing is lost
    assert "".join([*map(reader.push, pieces), reader.flush()]) == text


@pytest.mark.parametrize("name", TEMPLATES)
def test_the_format_is_found_by_what_the_template_writes_and_reads_its_calls(name: str, tmp_path: Path) -> None:
    made = tokenizer(tmp_path, TEMPLATES[name])
    assert getattr(ToolUse.of(made).form, "name", None) == name
    arguments = {"city": "Bern, \u00e9", "days": 2, "parts": [{"a": "b"}]}
    if name == "function-gemma":
        arguments.pop("parts")  # the short template writes no nested values
    made_calls: Calls = [("get_weather", arguments), ("ping", {})][: 1 if name in ("llama", "function-gemma") else 2]
    calls = [
        {"id": "call00000", "type": "function", "function": {"name": tool, "arguments": given}}
        for tool, given in made_calls
    ]
    asked: list[dict[str, Any]] = [{"role": "user", "content": "?"}]
    rendered = PromptFormat(kind="chat").render(
        made, [*asked, {"role": "assistant", "content": "", "tool_calls": calls}], [], opens=False
    )
    opened = PromptFormat(kind="chat").render(made, asked)
    text = rendered.removeprefix(opened).removesuffix("</s>")
    assert read(name, text) == ("", made_calls)


REAL = {
    "qwen2_5": "hermes",
    "qwen3": "hermes",
    "llama3_1": "llama",
    "llama3_2": "llama",
    "qwen3_5_think": "function-tags",
    "nemotron_3_nano": "function-tags",
    "glm4moe": "argument-tags",
    "gemma4": "gemma",
    "gptoss": None,
    "lfm2": None,
}


@pytest.mark.parametrize(("template", "name"), REAL.items(), ids=REAL)
def test_templates_that_families_publish_are_known_or_said_not_to_be(
    template: str, name: str | None, tmp_path: Path
) -> None:
    path = Path(trl.__file__).parent / "chat_templates" / f"{template}.jinja"
    use = ToolUse.of(tokenizer(tmp_path, path.read_text(encoding="utf-8")))
    assert use.shows_tools
    assert (use.form.name if use.form else None) == name


def test_a_template_that_leaves_tools_out_is_told_from_one_that_shows_them(tmp_path: Path) -> None:
    assert not ToolUse.of(tokenizer(tmp_path, WITHOUT_TOOLS)).shows_tools
    assert not ToolUse.of(tokenizer(tmp_path, "{{ raise_exception('no') }}")).shows_tools


def test_marks_that_are_special_tokens_keep_their_text_and_others_have_none(tmp_path: Path) -> None:
    made = tokenizer(tmp_path, TEMPLATES["mistral-named"], "[TOOL_CALLS]", "[ARGS]", "[IMG]")
    use = ToolUse.of(made)
    marks = made.convert_tokens_to_ids(["[TOOL_CALLS]", "[ARGS]"])
    assert use.mark_ids == dict(zip(["[TOOL_CALLS]", "[ARGS]"], marks, strict=True))
    assert use.silent == {*made.convert_tokens_to_ids(["<s>", "</s>", "[IMG]"])}


@pytest.mark.parametrize("name", [name for name in TEMPLATES if name != "function-gemma"])
def test_the_grammar_of_a_forced_call_takes_the_templates_own_call_and_no_other_tool(name: str, tmp_path: Path) -> None:
    llguidance = pytest.importorskip("llguidance")
    from llguidance.hf import from_tokenizer

    made = tokenizer(tmp_path, TEMPLATES[name], "[TOOL_CALLS]", "<|START_ACTION|>")
    use, reader_text = ToolUse.of(made), {}
    for tool, arguments in (
        ("get_weather", {"city": "Bern", "days": 3, "unit": "F"}),
        ("get_weather", {"city": "Bern", "unit": "K"}),
        ("ping", {}),
        ("get_weather", {}),
    ):
        call = {"id": "call00000", "type": "function", "function": {"name": tool, "arguments": arguments}}
        turns: list[dict[str, Any]] = [{"role": "user", "content": "?"}]
        opened = PromptFormat(kind="chat").render(made, turns)
        turns.append({"role": "assistant", "content": "", "tool_calls": [call]})
        text = PromptFormat(kind="chat").render(made, turns, opens=False).removeprefix(opened).removesuffix("</s>")
        reader_text[tool, len(arguments)] = text

    def accepted(text: str, *tools: Tool) -> bool:
        grammar = llguidance.grammar_from("lark", use.lark(list(tools)))
        matcher = llguidance.LLMatcher(from_tokenizer(made), grammar)
        assert not matcher.is_error(), matcher.get_error()
        ids = made(text, add_special_tokens=False)["input_ids"]
        return bool(matcher.try_consume_tokens(ids) == len(ids) and matcher.is_accepting())

    assert accepted(reader_text["get_weather", 3], WEATHER, PING)
    assert not accepted(reader_text["get_weather", 2], WEATHER, PING)  # there is no such unit
    assert accepted(reader_text["ping", 0], PING)
    assert not accepted(reader_text["ping", 0], WEATHER)
    assert not accepted(reader_text["get_weather", 0], WEATHER, PING)  # the city is required
    assert not accepted("Bern?", WEATHER)


def test_a_form_of_calls_that_cannot_be_forced_says_so(tmp_path: Path) -> None:
    for template in (TEMPLATES["function-gemma"], "{{ tools }}{% for m in messages %}{{ m.content }}{% endfor %}"):
        with pytest.raises(InvalidInputError, match="TOOL_CHOICE_REQUIRED"):
            ToolUse.of(tokenizer(tmp_path, template)).lark([PING])
