"""How a family of models writes calls of tools."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple, Protocol

from adapterhub.tool_calls.tool import Tool, Tools
from adapterhub.tool_calls.tool_call import ToolCall

SPACE = r"\s{0,16}"
"""White space in a pattern, bounded so that no search through long white space takes squares of its length."""

Mark = Callable[[str], str]
"""Lark for a mark: a special token by its id, any other by its text."""


class Taken(NamedTuple):
    """Calls that were read."""

    calls: list[ToolCall]
    end: int
    """Where the text behind them begins."""


class CallFormat(Protocol):
    """One way to write calls. Knows nothing of a request; every method may be called from any thread."""

    @property
    def name(self) -> str:
        """What it is called in errors and in the docs."""

    @property
    def marks(self) -> tuple[str, ...]:
        """Texts that make calls known. Where a tokenizer has one as a special token, the token's text counts."""

    @property
    def pattern(self) -> Any:
        """A `regex` pattern of where calls begin; its group `body` begins at what `take` reads."""

    @property
    def closes(self) -> str:
        """What comes at a call's end; empty where only the answer's end tells."""

    @property
    def short_ids(self) -> bool:
        """Whether chat templates of this format take ids of nine letters and digits only."""

    def take(self, text: str, at: int, tools: Tools, *, ended: bool) -> Taken:
        """The calls whose body begins at `at`; with `ended`, no text follows. Raises ValueError for what is none."""

    def lark(self, tools: list[Tool], mark: Mark) -> str:
        """A grammar of exactly one call of one of the tools, from the rule `start`.

        Raises InvalidInputError where the format has none.
        """
