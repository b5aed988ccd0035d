"""An answer's text with the calls taken out, as it comes."""

from __future__ import annotations

from typing import Any

from adapterhub.tool_calls.call_format import CallFormat, Taken
from adapterhub.tool_calls.tool import Tools
from adapterhub.tool_calls.tool_call import ToolCall


class CallReader:
    """Reads one answer. What `push` and `flush` give, with the calls where they stood, is the whole of it.

    Text before a call is given at once. From where a call may begin, text is held until that is decided:
    at its end it is a call of one of the tools, and anything else is given as the text it is. White space
    before a call, and behind the last one, is part of it.
    """

    def __init__(self, form: CallFormat, tools: Tools) -> None:
        self._form = form
        self._tools = tools
        self._text = ""
        self._at = 0
        """Up to here the text was given or taken."""
        self._called_to = 0
        """Where the last call ended."""
        self._tried = 0
        """So long was the text when a call was last looked for."""
        self.calls: list[ToolCall] = []

    def push(self, text: str) -> str:
        """The text that is new and certainly beside any call."""
        self._text += text
        return self._advance(ended=False)

    def flush(self) -> str:
        """What was held and is no call, when no more text comes."""
        rest = self._advance(ended=True)
        return "" if self._called_to and rest.isspace() and rest == self._text[self._called_to :] else rest

    def _advance(self, *, ended: bool) -> str:
        given: list[str] = []
        while self._at < len(self._text):
            found = self._form.pattern.search(self._text, self._at, partial=not ended)
            begin = len(self._text) if found is None else found.start()
            given.append(self._text[self._at : begin])
            self._at = begin
            if found is None or found.partial:
                break
            taken = self._take(found, ended=ended)
            if taken is not None:
                self.calls += taken.calls
                self._at, self._called_to, self._tried = taken.end, taken.end, 0
            elif ended:
                given.append(self._text[self._at : found.end()])
                self._at = found.end()
            else:
                break
        return "".join(given)

    def _take(self, found: Any, *, ended: bool) -> Taken | None:
        """None where no call is there, or not yet."""
        if not ended and not self._may_be_whole(found.start("body")):
            return None
        try:
            return self._form.take(self._text, found.start("body"), self._tools, ended=ended)
        except ValueError:
            return None

    def _may_be_whole(self, body: int) -> bool:
        """Whether a call's closing mark came since it was last looked for: else there is nothing to read again."""
        closes = self._form.closes
        begin = max(body, self._tried - len(closes) + 1)
        self._tried = len(self._text)
        return bool(closes) and self._text.find(closes, begin) >= 0
