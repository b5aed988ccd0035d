"""What an example of training data says, whatever file and format it came in. Needs no torch.

A record keeps the place it was read from: the line of a JSONL file, else the row, counted from 1.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

Message = Mapping[str, Any]
"""One turn as chat templates take it: `role` (system, user, assistant or tool), `content`, and for tools what
the template knows of them (`tool_calls`, `name`, `tool_call_id`)."""


class Pair(NamedTuple):
    """What is asked and what is to be answered, in plain text."""

    prompt: str
    completion: str
    line: int


class Chat(NamedTuple):
    """A conversation that ends with an assistant's turn."""

    turns: tuple[Message, ...]
    tools: tuple[Mapping[str, Any], ...]
    """Definitions of the tools the assistant may call, as the chat template takes them."""
    line: int


class Text(NamedTuple):
    """Plain text: all of it is to be continued."""

    text: str
    line: int


class Preference(NamedTuple):
    """Two answers to one prompt, of which the first is better."""

    prompt: str | tuple[Message, ...]
    """Plain text, or the turns so far."""
    chosen: str
    rejected: str
    line: int


class Feedback(NamedTuple):
    """An answer to a prompt, and whether it is a good one."""

    prompt: str | tuple[Message, ...]
    completion: str
    good: bool
    line: int


Record = Pair | Chat | Text | Preference | Feedback
KINDS: Mapping[type[Record], str] = {
    Pair: "prompts with completions",
    Chat: "conversations",
    Text: "plain text",
    Preference: "preference pairs",
    Feedback: "rated completions",
}
"""What users call each."""
