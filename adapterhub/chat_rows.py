"""Conversations as token ids, with the assistant's turns found in what the base's chat template wrote.

Few templates mark what the assistant said, so a conversation is rendered turn by turn. The ids in
front of a learned turn are always those that serving has when it is about to give that turn.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from adapterhub.prompt_format import PromptFormat, encode_rendered
from adapterhub.records import Chat, Message

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase


class TurnRow(NamedTuple):
    """Token ids, and which of them are learned."""

    ids: list[int]
    learned: list[bool]
    """For each id."""


class ChatRows(NamedTuple):
    """A conversation in a prompt format of kind `chat`."""

    chat: Chat
    prompt_format: PromptFormat
    tokenizer: PreTrainedTokenizerBase

    def answers(self) -> list[int]:
        """Places of the assistant's turns that answer something; one that opens the conversation does not."""
        return [place for place, turn in enumerate(self.chat.turns) if turn["role"] == "assistant" and place]

    def problem(self) -> str:
        """What the conversation asks of the base's template that it does not give; empty for nothing."""
        chat, places = self.chat, self.answers()
        if not places or chat.turns[-1]["role"] != "assistant":
            return "the conversation does not end with an assistant's answer"
        opened = self._render(places[0])
        if chat.tools and opened == self.prompt_format.render(self.tokenizer, chat.turns[: places[0]]):
            return "the base's chat template leaves the definitions of tools out"
        for place in places:
            names = [str(call.get("function", call).get("name")) for call in chat.turns[place].get("tool_calls") or ()]
            said = "" if _words(chat.turns[place]) else self._said(place)
            if not _words(chat.turns[place]) and not (said and all(name in said for name in names)):
                return f"turn {place + 1}: the base's chat template does not write all of it behind its prompt"
        return ""

    def of_turn(self, place: int) -> TurnRow:
        """The turn at `place` behind its prompt; of it alone something is learned."""
        prompt = encode_rendered(self.tokenizer, self._render(place))
        response = self._response(place)
        return TurnRow(prompt + response, [False] * len(prompt) + [True] * len(response))

    def of_all(self) -> TurnRow | None:
        """All of the assistant's turns in one row, each with what closes it.

        None where the template writes a turn otherwise once the conversation has gone on (some drop what
        was thought), or where tokens join over a turn's border: no row then has every turn's prompt.
        """
        *earlier, last = self.answers()
        text = self._render(last)
        ids = encode_rendered(self.tokenizer, text)
        learned = [False] * len(ids)
        for place in earlier:
            opened = self._render(place)
            closed = opened + self._kept(place, text[len(opened) :])
            before, through = (encode_rendered(self.tokenizer, part) for part in (opened, closed))
            start, end = len(before), len(through)
            if closed == opened or not text.startswith(closed) or ids[:start] != before or ids[:end] != through:
                return None
            learned[start:end] = [True] * (end - start)
        response = self._response(last)
        return TurnRow(ids + response, learned + [True] * len(response))

    def _render(self, place: int, *, opens: bool = True) -> str:
        return self.prompt_format.render(self.tokenizer, self.chat.turns[:place], self.chat.tools, opens=opens)

    def _said(self, place: int) -> str:
        """The turn as the template writes it behind its prompt, with what closes it; empty where it does not."""
        opened, through = self._render(place), self._render(place + 1, opens=False)
        return through[len(opened) :].rstrip() if through.startswith(opened) else ""

    def _kept(self, place: int, rest: str) -> str:
        """The turn as it stands at the front of `rest`, with what closes it; empty where it is written otherwise."""
        words, closing = _words(self.chat.turns[place]), self.prompt_format.closes_with
        said = [self._said(place)] + [f"{text}{closing}" for text in (words, words.strip()) if text]
        return next((text for text in said if text and rest.startswith(text)), "")

    def _response(self, place: int) -> list[int]:
        """A turn of words alone is encoded as the completion of a pair is; any other as the template writes it."""
        text = _words(self.chat.turns[place]) or self._said(place).removesuffix(self.prompt_format.closes_with)
        return self.prompt_format.encode_response(self.tokenizer, text)


def _words(turn: Message) -> str:
    """What a turn says that consists of words alone; empty for one that calls tools or has other parts."""
    parts = {key for key, value in turn.items() if value and key not in ("role", "content")}
    content = turn.get("content")
    return content if isinstance(content, str) and not parts else ""
