"""Conversations as rows: the assistant's turns alone are learned, and every prompt is the one that serving has."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from transformers import AutoTokenizer

from adapterhub.base import read_base
from adapterhub.encoder import IGNORED, Encoder, Example
from adapterhub.errors import DataError
from adapterhub.prompt_format import PromptFormat
from adapterhub.records import Chat, Message, Pair

FORGETS = (  # as templates of reasoning models do: what was thought stays in the newest answer only
    "{% for m in messages %}<s>{{ m['role'] }}: "
    "{% if m['role'] == 'assistant' and loop.last %}(hm){% endif %}{{ m['content'] | trim }}</s>{% endfor %}"
    "{% if add_generation_prompt %}<s>assistant: {% endif %}"
)
THINKS_FIRST = FORGETS.replace("<s>assistant: {% endif %}", "<s>assistant: (hm){% endif %}")
KNOWS_TOOLS = (
    "{% if tools %}<s>tools: {{ tools | tojson }}</s>{% endif %}"
    "{% for m in messages %}<s>{{ m['role'] }}: {{ m['content'] or '' }}"
    "{% for c in m.get('tool_calls') or [] %}[{{ c.function | tojson }}]{% endfor %}</s>{% endfor %}"
    "{% if add_generation_prompt %}<s>assistant: {% endif %}"
)
TOOL = {"type": "function", "function": {"name": "add", "parameters": {"type": "object", "properties": {}}}}
CALL = {"type": "function", "function": {"name": "add", "arguments": {"a": 1, "b": 2}}}


def said(role: str, content: str, **more: Any) -> Message:
    return {"role": role, "content": content, **more}


TALK = (
    said("user", "Hi"),
    said("assistant", "Hello."),
    said("user", "And?"),
    said("assistant", " Well,\nno. "),
    said("user", "Oh"),
    said("assistant", "Yes"),
)
CALLS = (
    said("user", "1+2?"),
    said("assistant", "", tool_calls=[CALL]),
    said("tool", "3"),
    said("assistant", "It is 3."),
)


@pytest.fixture
def tokenizer(tiny_base: Path) -> Any:
    return AutoTokenizer.from_pretrained(tiny_base)


@pytest.fixture(scope="module")
def smollm2() -> Any:
    return AutoTokenizer.from_pretrained(read_base("smollm2-135m")[0].path)


def encoder(tokenizer: Any, kind: Any = "chat", **settings: Any) -> Encoder:
    return Encoder(tokenizer, PromptFormat.of(tokenizer, kind), "talk.jsonl", **{"max_length": 512, **settings})


def learned(tokenizer: Any, row: Example) -> list[str]:
    """The texts of the runs of learned tokens."""
    runs: list[list[int]] = [[]]
    for label in row["labels"]:
        if label != IGNORED:
            runs[-1].append(label)
        elif runs[-1]:
            runs.append([])
    return [tokenizer.decode(run) for run in runs if run]


def assert_served(tokenizer: Any, row: Example, turns: tuple[Message, ...], tools: Any = ()) -> None:
    """In front of every learned run stands what serving makes of the turns so far."""
    starts = [
        at
        for at, label in enumerate(row["labels"])
        if label != IGNORED and row["labels"][at - 1] == IGNORED
    ]  # fmt: skip
    prompt_format = PromptFormat.of(tokenizer, "chat")
    prompts = [prompt_format.encode_turns(tokenizer, turns[:at], tools) for at in range(1, len(turns) + 1)]
    assert starts
    assert all(row["input_ids"][:at] in prompts for at in starts)
    assert all(label in (IGNORED, token) for token, label in zip(row["input_ids"], row["labels"], strict=True))


@pytest.mark.parametrize("name", ["tokenizer", "smollm2"])
def test_all_answers_are_learned_in_one_row_each_with_what_closes_it(name: str, request: Any) -> None:
    tokenizer = request.getfixturevalue(name)
    (row,) = encoder(tokenizer).chat(Chat(TALK, (), 1))
    eos = tokenizer.eos_token
    assert learned(tokenizer, row) == [f"Hello.{eos}", f" Well,\nno. {eos}", f"Yes{eos}"]
    assert_served(tokenizer, row, TALK)


@pytest.mark.parametrize("name", ["tokenizer", "smollm2"])
def test_the_last_answer_alone_has_the_conversation_before_it_as_its_prompt(name: str, request: Any) -> None:
    tokenizer = request.getfixturevalue(name)
    (row,) = encoder(tokenizer).chat(Chat(TALK, (), 1), turns="last")
    assert learned(tokenizer, row) == [f"Yes{tokenizer.eos_token}"]
    assert_served(tokenizer, row, TALK)
    assert row["input_ids"] == encoder(tokenizer).chat(Chat(TALK, (), 1))[0]["input_ids"]


@pytest.mark.parametrize("name", ["tokenizer", "smollm2"])
@pytest.mark.parametrize("kind", ["raw", "chat"])
def test_a_conversation_of_one_question_is_its_pair(name: str, kind: str, request: Any) -> None:
    tokenizer = request.getfixturevalue(name)
    chat = Chat((said("user", "Hi"), said("assistant", " Hello. ")), (), 1)
    assert encoder(tokenizer, kind).chat(chat) == [encoder(tokenizer, kind).pair(Pair("Hi", " Hello. ", 1))]


def test_an_answer_that_opens_the_conversation_is_only_context(tokenizer: Any) -> None:
    turns = (said("assistant", "Ask me."), *TALK[:2])
    (row,) = encoder(tokenizer).chat(Chat(turns, (), 1))
    assert learned(tokenizer, row) == ["Hello.</s>"]


@pytest.mark.parametrize("template", [FORGETS, THINKS_FIRST])
def test_a_template_that_writes_earlier_answers_otherwise_has_rows_with_every_prompt_as_served(
    tokenizer: Any, template: str
) -> None:
    tokenizer.chat_template = template
    rows = encoder(tokenizer).chat(Chat(TALK, (), 1))
    assert [run for row in rows for run in learned(tokenizer, row)][-1] == "Yes</s>"
    assert sum(len(learned(tokenizer, row)) for row in rows) == 3
    assert len(rows) == (1 if template == FORGETS else 3)
    for row in rows:
        assert_served(tokenizer, row, TALK)


def test_tokens_that_join_over_a_border_cost_a_row_for_each_turn(smollm2: Any) -> None:
    turns = (said("user", "Hi"), said("assistant", "\n\nHello."), *TALK[2:4])
    rows = encoder(smollm2).chat(Chat(turns, (), 1))
    assert len(rows) == 2
    for row in rows:
        assert_served(smollm2, row, turns)


def test_tools_and_their_calls_go_through_the_template(tokenizer: Any) -> None:
    tokenizer.chat_template = KNOWS_TOOLS
    (row,) = encoder(tokenizer).chat(Chat(CALLS, (TOOL,), 1))
    assert tokenizer.decode(row["input_ids"]).startswith('<s>tools: [{"type": "function"')
    call, answer = learned(tokenizer, row)
    assert call.startswith('[{"name": "add"')
    assert call.endswith("]</s>")
    assert answer == "It is 3.</s>"
    assert_served(tokenizer, row, CALLS, (TOOL,))
    (last,) = encoder(tokenizer).chat(Chat(CALLS[:2], (TOOL,), 1))
    assert learned(tokenizer, last) == [call]


@pytest.mark.parametrize(
    ("turns", "tools", "kind", "problem"),
    [
        (CALLS, (TOOL,), "chat", "the base's chat template leaves the definitions of tools out"),
        (CALLS, (), "chat", "turn 2: the base's chat template does not write all of it behind its prompt"),
        (TALK[:3], (), "chat", "the conversation does not end with an assistant's answer"),
        (TALK, (), "raw", "a conversation of several turns, a system turn or tools needs a chat template"),
        ((said("system", "Be brief."), *TALK[:2]), (), "raw", "a system turn or tools needs a chat template"),
        ((said("user", ""), said("assistant", "x", thought=["y"])), (), "chat", "turn 2: "),
    ],
)  # fmt: skip
def test_what_the_base_cannot_write_is_refused_with_its_line(
    tokenizer: Any, turns: tuple[Message, ...], tools: Any, kind: str, problem: str
) -> None:
    tokenizer.chat_template = str(tokenizer.chat_template).replace(
        "{{ m['content'] }}", "{{ m['content'] if 'thought' not in m else raise_exception('turn 2: no') }}"
    )
    with pytest.raises(DataError, match=rf"^talk\.jsonl:7: .*{problem}"):
        encoder(tokenizer, kind).chat(Chat(turns, tools, 7))


def test_long_rows_are_refused_cut_or_left_out_and_counted(tokenizer: Any) -> None:
    pair, long_prompt = Pair("Hi", "abcdefgh", 3), Pair("Hi" * 9, "a", 4)
    with pytest.raises(DataError, match=r"talk\.jsonl:3: 11 tokens, over max_length 6$"):
        encoder(tokenizer, "raw", max_length=6).rows(pair)
    cuts = encoder(tokenizer, "raw", max_length=6, overlong="truncate")
    assert [learned(tokenizer, row) for row in cuts.rows(pair)] == [["abcd"]]
    assert cuts.rows(long_prompt) == []
    assert (cuts.shortened.truncated, cuts.shortened.dropped) == (1, 1)
    drops = encoder(tokenizer, "raw", max_length=64, room=6, overlong="drop")
    assert drops.rows(pair) == drops.rows(long_prompt) == []
    assert drops.rows(Pair("Hi", "abc", 5)) == [drops.pair(Pair("Hi", "abc", 5))]
    assert (drops.shortened.truncated, drops.shortened.dropped) == (0, 2)


def test_a_row_without_anything_to_learn_is_refused(tokenizer: Any) -> None:
    row = Example(input_ids=[5, 6], labels=[5, IGNORED])
    with pytest.raises(DataError, match=r"talk\.jsonl:9: no token of it is in the loss"):
        encoder(tokenizer).fitted([row], 9)
