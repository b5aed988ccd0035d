"""The built-in formats: what each reads an object as, and the exact words for what is wrong with one."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from adapterhub.data import read_dataset
from adapterhub.errors import ConfigError, DataError
from adapterhub.plugins import load_formats
from adapterhub.records import Chat, Feedback, Pair, Preference, Record, Text

Values = dict[str, Any]
ROLES = "system, user, assistant, tool"


def user(content: str) -> Values:
    return {"role": "user", "content": content}


def assistant(content: str) -> Values:
    return {"role": "assistant", "content": content}


SYSTEM: Values = {"role": "system", "content": "Be kind."}
HUMAN: Values = {"from": "human", "value": "hi"}
GPT: Values = {"from": "gpt", "value": "hello"}
TOOL: Values = {"type": "function", "function": {"name": "clock", "parameters": {}}}
CALL: Values = {"type": "function", "function": {"name": "clock", "arguments": {"zone": "UTC"}}}
CALLING: Values = {"role": "assistant", "content": "", "tool_calls": [CALL]}


def write(folder: Path, *objects: Values) -> Path:
    path = folder / "data.jsonl"
    path.write_text("".join(json.dumps(values) + "\n" for values in objects))
    return path


def chat(*turns: Values, tools: tuple[Values, ...] = ()) -> Chat:
    return Chat(turns, tools, 1)


@pytest.mark.parametrize(
    ("name", "values", "record"),
    [
        ("messages", {"messages": [SYSTEM, user("hi"), assistant("hello")]},
         chat(SYSTEM, user("hi"), assistant("hello"))),
        ("messages", {"messages": [user("a"), assistant("b"), user("c"), assistant("d")], "tools": None},
         chat(user("a"), assistant("b"), user("c"), assistant("d"))),
        ("messages", {"messages": json.dumps([user("hi"), assistant("hello")]), "tools": json.dumps([TOOL])},
         chat(user("hi"), assistant("hello"), tools=(TOOL,))),
        ("messages",
         {"messages": [{"role": "user", "content": [{"type": "text", "text": "h"}, {"type": "text", "text": "i"}]},
                       {"role": "assistant", "content": "hello", "tool_calls": None, "weight": 1, "thinking": "..."}]},
         chat(user("hi"), assistant("hello") | {"thinking": "..."})),
        ("messages",
         {"messages": [user("time?"),
                       {"role": "assistant", "content": None, "tool_calls": [
                           {"id": "1", "type": "function",
                            "function": {"name": "clock", "arguments": '{"zone": "UTC"}'}}]},
                       {"role": "tool", "tool_call_id": "1", "content": "noon"},
                       assistant("It is noon.")], "tools": [TOOL]},
         chat(user("time?"), CALLING | {"tool_calls": [{"id": "1", **CALL}]},
              {"role": "tool", "tool_call_id": "1", "content": "noon"}, assistant("It is noon."), tools=(TOOL,))),
        ("messages", {"messages": [user("time?"), {"role": "assistant", "tool_calls": [CALL["function"]]}]},
         chat(user("time?"), CALLING)),
        ("prompt_completion", {"prompt": "a", "completion": "b"}, Pair("a", "b", 1)),
        ("prompt_completion", {"prompt": [user("hi")], "completion": [assistant("hello")]},
         chat(user("hi"), assistant("hello"))),
        ("prompt_completion", {"prompt": "a", "completion": "b", "label": "joy"}, Pair("a", "b", 1)),
        ("alpaca", {"instruction": "Add.", "input": "1 and 2", "output": "3"}, Pair("Add.\n1 and 2", "3", 1)),
        ("alpaca", {"instruction": "Say hi.", "input": "", "output": "hi", "text": "Below"}, Pair("Say hi.", "hi", 1)),
        ("alpaca", {"instruction": "c", "output": "d", "system": "Be kind.", "history": [["a", "b"]]},
         chat(SYSTEM, user("a"), assistant("b"), user("c"), assistant("d"))),
        ("sharegpt", {"conversations": [HUMAN, GPT]}, chat(user("hi"), assistant("hello"))),
        ("sharegpt", {"conversations": [user("hi"), assistant("hello")], "system": "Be kind."},
         chat(SYSTEM, user("hi"), assistant("hello"))),
        ("sharegpt",
         {"conversations": [HUMAN, {"from": "function_call", "value": json.dumps(CALL["function"])},
                            {"from": "observation", "value": "noon"}, GPT], "tools": json.dumps([TOOL])},
         chat(user("hi"), CALLING, {"role": "tool", "content": "noon"}, assistant("hello"), tools=(TOOL,))),
        ("text", {"text": "Once upon a time", "id": 7}, Text("Once upon a time", 1)),
        ("preference", {"prompt": "The sky is", "chosen": " blue.", "rejected": " green."},
         Preference("The sky is", " blue.", " green.", 1)),
        ("preference", {"chosen": "The sky is blue.", "rejected": "The sky is green."},
         Preference("The sky is", " blue.", " green.", 1)),
        ("preference", {"chosen": "It is blue", "rejected": "It is black"},
         Preference("It is", " blue", " black", 1)),
        ("preference", {"prompt": [user("sky?")], "chosen": [assistant("blue")], "rejected": [assistant("green")]},
         Preference((user("sky?"),), "blue", "green", 1)),
        ("preference", {"prompt": [user("sky?")], "chosen": "blue", "rejected": "green"},
         Preference((user("sky?"),), "blue", "green", 1)),
        ("preference", {"chosen": [user("sky?"), assistant("blue")], "rejected": [user("sky?"), assistant("green")]},
         Preference((user("sky?"),), "blue", "green", 1)),
        ("preference",
         {"prompt": "sky?", "chosen": [user("sky?"), assistant("blue")], "rejected": [user("sky?"), assistant("no")],
          "messages": [user("sky?"), assistant("blue")], "score_chosen": 8.0},
         Preference((user("sky?"),), "blue", "no", 1)),
        ("preference", {"prompt": "sky?", "chosen": [assistant("blue")], "rejected": [assistant("green")]},
         Preference("sky?", "blue", "green", 1)),
        ("feedback", {"prompt": "sky?", "completion": "blue", "label": True}, Feedback("sky?", "blue", True, 1)),
        ("feedback", {"prompt": "sky?", "completion": "green", "label": "False"}, Feedback("sky?", "green", False, 1)),
        ("feedback", {"prompt": [user("sky?")], "completion": [assistant("blue")], "label": True},
         Feedback((user("sky?"),), "blue", True, 1)),
    ],
)  # fmt: skip
def test_an_object_is_read_as_what_it_says(tmp_path: Path, name: str, values: Values, record: Record) -> None:
    dataset = read_dataset(write(tmp_path, values))
    assert (dataset.format, dataset.records) == (name, (record,))
    assert type(dataset.records[0]) is type(record)
    assert read_dataset(write(tmp_path, values), name).records == (record,)


GOOD: dict[str, Values] = {
    "messages": {"messages": [user("hi"), assistant("hello")]},
    "sharegpt": {"conversations": [HUMAN, GPT]},
    "alpaca": {"instruction": "a", "output": "b"},
    "preference": {"prompt": "a", "chosen": "b", "rejected": "c"},
    "feedback": {"prompt": "a", "completion": "b", "label": True},
    "prompt_completion": {"prompt": "a", "completion": "b"},
    "text": {"text": "a"},
}


@pytest.mark.parametrize(
    ("name", "values", "problem"),
    [
        ("messages", {"messages": []}, "the conversation is empty"),
        ("messages", {"messages": "hi"}, "'messages' is text, and not JSON"),
        ("messages", {"messages": {"role": "user"}}, "'messages' is not a list but object"),
        ("messages", {"messages": ["hi"]}, "'messages': entry 1 is not an object but text"),
        ("messages", {"messages": [user("a"), user("b"), assistant("c")]},
         "turn 2: roles out of order: 'user' after 'user' (accepted: assistant)"),
        ("messages", {"messages": [assistant("a")]},
         "turn 1: roles out of order: 'assistant' first (accepted: system, user)"),
        ("messages", {"messages": [user("a"), SYSTEM, assistant("b")]},
         "turn 2: roles out of order: 'system' after 'user' (accepted: assistant)"),
        ("messages", {"messages": [user("a"), {"role": "tool", "content": "x"}]},
         "turn 2: roles out of order: 'tool' after 'user' (accepted: assistant)"),
        ("messages", {"messages": [user("a")]}, "the last turn is not the assistant's, but of role 'user'"),
        ("messages", {"messages": [user("a"), assistant(" ")]}, "turn 2: the content is empty"),
        ("messages", {"messages": [{"role": "bot", "content": "a"}]}, f"turn 1: the role is 'bot' (accepted: {ROLES})"),
        ("messages", {"messages": [{"content": "a"}]}, f"turn 1: the role is missing (accepted: {ROLES})"),
        ("messages", {"messages": [{"role": 7}]}, f"turn 1: the role is int (accepted: {ROLES})"),
        ("messages", {"messages": [{"role": "user", "content": 7}]}, "turn 1: the content is not text but int"),
        ("messages", {"messages": [{"role": "user", "content": [{"type": "image_url"}]}]},
         "turn 1: a part of the content is not text"),
        ("messages", {"messages": [user("a") | {"tool_calls": [CALL]}]},
         "turn 1: only the assistant calls tools, not 'user'"),
        ("messages", {"messages": [user("a"), {"role": "assistant", "tool_calls": [{}]}]},
         "turn 2: a call of a tool has no name"),
        ("messages", {"messages": [user("a"), {"role": "assistant", "tool_calls": 7}]},
         "turn 2: 'tool_calls' is not a list of objects"),
        ("messages", {"messages": [user("a"), {"role": "assistant", "tool_calls": [{"name": "f", "arguments": 7}]}]},
         "turn 2: the arguments of 'f' are not an object"),
        ("messages", {"messages": [user("a"), assistant("b") | {"weight": 0}]}, "turn 2: 'weight' is not supported"),
        ("messages", {"messages": [user("a"), assistant("b")], "tools": "?"}, "'tools' is text, and not JSON"),
        ("messages", {"messages": [user("a"), assistant("b")], "tool": []},
         "unknown key 'tool'; did you mean 'tools'? (accepted: messages, tools)"),
        ("sharegpt", {"conversations": [{"from": "bing", "value": "a"}]},
         "turn 1: 'from' is 'bing' (accepted: human, user, gpt, assistant, function_call, system, tool, observation, "
         "function_response)"),
        ("sharegpt", {"conversations": [HUMAN]}, "the last turn is not the assistant's, but of role 'user'"),
        ("sharegpt", {"conversations": [GPT, HUMAN]},
         "turn 1: roles out of order: 'assistant' first (accepted: system, user)"),
        ("sharegpt", {"conversations": []}, "the conversation is empty"),
        ("sharegpt", {"conversations": [HUMAN, {"from": "gpt", "value": None}]}, "turn 2: the content is empty"),
        ("alpaca", {"instruction": "a", "outputs": "b"},
         "unknown key 'outputs'; did you mean 'output'? (accepted: history, input, instruction, output, system)"),
        ("alpaca", {"instruction": "a", "response": "b"}, "no 'output'"),
        ("alpaca", {"instruction": "a", "input": ["x"], "output": "b"}, "'input' is not text but list"),
        ("alpaca", {"instruction": "a", "output": "b", "history": [["x"]]},
         "'history' is not a list of [instruction, answer]"),
        ("preference", {"prompt": "a", "chosen": "b"}, "no 'rejected'"),
        ("preference", {"prompt": "a", "chosen": "b", "rejected": " "}, "'rejected' is empty"),
        ("preference", {"chosen": "yes", "rejected": "no"},
         "no 'prompt', and 'chosen' and 'rejected' have no beginning in common"),
        ("preference", {"chosen": "a b", "rejected": "a b"}, "no 'prompt', and 'chosen' and 'rejected' are the same"),
        ("preference", {"chosen": "a b", "rejected": "a"},
         "no 'prompt', and one of 'chosen' and 'rejected' is the beginning of the other"),
        ("preference", {"prompt": "a", "chosen": [assistant("b")], "rejected": "c"},
         "'chosen' is list, 'rejected' is text; accepted: both of one kind"),
        ("preference", {"prompt": [user("a")], "chosen": [assistant("b"), user("c")], "rejected": [assistant("d")]},
         "'chosen' has 2 turns after the prompt; accepted: one, of the assistant"),
        ("preference", {"prompt": [user("a"), assistant("b")], "chosen": [assistant("c")], "rejected": [assistant("")]},
         "'prompt' ends with a turn of role 'assistant' (accepted: user, tool)"),
        ("preference", {"prompt": [user("a")], "chosen": [user("b")], "rejected": [assistant("d")]},
         "'chosen' is not the assistant's turn, but of role 'user'"),
        ("feedback", {"prompt": "a", "completion": "b", "label": "joy"},
         "'label' is not true or false but text; the file is of format 'feedback' by its first record, this looks like "
         "'prompt_completion'"),
        ("feedback", {"prompt": "a", "completion": "", "label": True}, "'completion' is empty"),
        ("text", {"text": ""}, "'text' is empty"),
        ("text", {"text": None}, "'text' is not text but NoneType"),
        ("prompt_completion", {"prompt": [user("a")], "completion": "b"}, "'prompt' is not text but list"),
        ("prompt_completion", {"messages": []},
         "no 'prompt'; the file is of format 'prompt_completion' by its first record, this looks like 'messages'"),
        ("messages", {"prompt": "a", "completion": "b"},
         "no 'messages'; the file is of format 'messages' by its first record, this looks like 'prompt_completion'"),
    ],
)  # fmt: skip
def test_what_is_wrong_with_an_object_is_told_with_its_line(
    tmp_path: Path, name: str, values: Values, problem: str
) -> None:
    path = write(tmp_path, GOOD[name], values)
    with pytest.raises(DataError) as caught:
        read_dataset(path)
    assert str(caught.value) == f"{path}:2: {problem}"


def test_an_unknown_shape_is_told_with_all_known_ones(tmp_path: Path) -> None:
    path = write(tmp_path, {"question": "a", "answer": "b"})
    shapes = "; ".join(each.shape for each in load_formats().by_name.values())
    with pytest.raises(DataError) as caught:
        read_dataset(path)
    assert str(caught.value) == f"{path}:1: unknown shape, with the keys 'question', 'answer' (accepted: {shapes})"
    with pytest.raises(DataError, match=r"with the keys 'message'; is 'message' meant as 'messages'\? \(accepted: "):
        read_dataset(write(tmp_path, {"message": []}))
    with pytest.raises(DataError, match=r":1: unknown shape, without keys \(accepted: "):
        read_dataset(write(tmp_path, {}))
    with pytest.raises(DataError, match=r"'k9', \.\.\. \(accepted: "):
        read_dataset(write(tmp_path, {f"k{number}": 0 for number in range(10**4)}))


def test_a_format_that_was_asked_for_is_taken(tmp_path: Path) -> None:
    values = {"text": "a", "prompt": "b", "completion": "c"}
    assert read_dataset(write(tmp_path, values)).format == "prompt_completion"
    assert read_dataset(write(tmp_path, values), "text").records == (Text("a", 1),)
    with pytest.raises(DataError, match=r"of format 'alpaca' as it was asked for, this looks like 'text'$"):
        read_dataset(write(tmp_path, GOOD["text"]), "alpaca")
    with pytest.raises(ConfigError, match=r"unknown format 'alpacca'; did you mean 'alpaca'\? \(known: alpaca, feed"):
        read_dataset(write(tmp_path, values), "alpacca")


def test_columns_that_are_not_read_are_known(tmp_path: Path) -> None:
    rows = [GOOD["text"] | {"id": 1}, GOOD["text"] | {"url": "x"}]
    assert read_dataset(write(tmp_path, *rows)).unused == ("id", "url")


def test_every_format_has_a_good_example_here() -> None:
    assert list(load_formats().by_name) == list(GOOD)
