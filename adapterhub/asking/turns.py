"""The turns of a chat, out of JSON that anybody may have written."""

from __future__ import annotations

from typing import Any, Literal

from adapterhub.errors import InvalidInputError
from adapterhub.prompt_format import Turn

ROLES: dict[str, Literal["system", "user", "assistant"]] = {
    "system": "system",
    "developer": "system",
    "user": "user",
    "assistant": "assistant",
}
"""Words for who speaks; OpenAI's newer models have developers for the system."""


def turns_of(messages: Any, *, where: str) -> tuple[Turn, ...]:
    """`[{"role": ..., "content": ...}, ...]`; a content may be a list of `{"type": "text", "text": ...}`.

    Raises InvalidInputError whose message starts with `where` and whose field is the wrong message's.
    """
    if not isinstance(messages, list) or not messages:
        raise _error(where, "messages", "a list of at least one turn is accepted")
    turns: list[Turn] = []
    for number, message in enumerate(messages):
        field = f"messages.{number}"
        if not isinstance(message, dict):
            raise _error(where, field, 'not an object such as {"role": "user", "content": "..."}')
        known = [name for name, role in ROLES.items() if role != "system" or not number]
        if (role := message.get("role")) not in known:
            raise _error(where, f"{field}.role", f"{role!r} (accepted here: {', '.join(known)})")
        if extra := [name for name in message if name not in ("role", "content", "name") and message[name]]:
            raise _error(where, f"{field}.{extra[0]}", "not served here (accepted: role, content)")
        turns.append({"role": ROLES[role], "content": _text(message.get("content"), where, f"{field}.content")})
    if turns[-1]["role"] != "user":
        raise _error(where, f"messages.{len(turns) - 1}.role", "the last turn is the user's")
    return tuple(turns)


def as_prompt(turns: tuple[Turn, ...]) -> str | tuple[Turn, ...]:
    """One user's turn and nothing else is a text, which adapters without a chat format answer too."""
    return turns[0]["content"] if [turn["role"] for turn in turns] == ["user"] else turns


def _text(content: Any, where: str, field: str) -> str:
    if isinstance(content, str):
        return content
    parts = content if isinstance(content, list) else [None]
    texts = [part.get("text") for part in parts if isinstance(part, dict) and part.get("type") == "text"]
    if len(texts) < len(parts) or not all(isinstance(text, str) for text in texts):
        raise _error(where, field, "text is accepted, or a list of parts of the type text")
    return "\n".join(map(str, texts))  # a line each


def _error(where: str, field: str, reason: str) -> InvalidInputError:
    return InvalidInputError(f"{where}: {field}: {reason}", field=field)
