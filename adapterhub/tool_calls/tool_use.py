"""What a base's chat template does with tools, found by having it write some."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

from adapterhub.errors import InvalidInputError
from adapterhub.prompt_format import PromptFormat
from adapterhub.tool_calls.call_format import CallFormat
from adapterhub.tool_calls.grammar import quoted
from adapterhub.tool_calls.known import KNOWN
from adapterhub.tool_calls.reader import CallReader
from adapterhub.tool_calls.tool import Tool

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

PROBE = Tool("probe_tool", "Looks.", {"type": "object", "properties": {"probe_key": {"type": "string"}}})
ASKED = {"role": "user", "content": "Ask."}
TOLD = {"role": "assistant", "content": "Told."}
CALLED = {
    "role": "assistant",
    "content": "",
    "tool_calls": [
        {
            "id": "call00000",  # Mistral's templates insist on nine letters and digits
            "type": "function",
            "function": {"name": PROBE.name, "arguments": {"probe_key": "probe value"}},
        }
    ],
}


class ToolUse(NamedTuple):
    """What a tokenizer's chat template knows of tools. Shared by all requests; read only."""

    shows_tools: bool
    """Whether it writes the definitions of tools."""
    form: CallFormat | None
    """How it writes calls; None where that is not known here."""
    silent: frozenset[int]
    """Special tokens that have no text in an answer: all but the marks of calls."""
    mark_ids: dict[str, int]
    """Marks that are special tokens."""

    @classmethod
    def of(cls, tokenizer: PreTrainedTokenizerBase) -> ToolUse:
        """Renders a few short chats with the template."""
        shows = bool(tokenizer.chat_template) and _shows_tools(tokenizer)
        form = _written(tokenizer) or _mentioned(tokenizer) if shows else None
        special = _special_tokens(tokenizer)
        mark_ids = {mark: special[mark] for mark in (form.marks if form else ()) if mark in special}
        return cls(shows, form, frozenset(special.values()) - set(mark_ids.values()), mark_ids)

    def lark(self, tools: list[Tool]) -> str:
        """A grammar of one call of one of the tools. Raises InvalidInputError where there is none."""
        if self.form is None:
            raise InvalidInputError(
                "chat.tool_choice: TOOL_CHOICE_REQUIRED needs a base whose form of calls is known",
                field="chat.tool_choice",
            )
        return self.form.lark(tools, self._mark)

    def _mark(self, mark: str) -> str:
        return f"<[{self.mark_ids[mark]}]>" if mark in self.mark_ids else quoted(mark)


def _shows_tools(tokenizer: PreTrainedTokenizerBase) -> bool:
    without, shown = _rendered(tokenizer, [ASKED]), _rendered(tokenizer, [ASKED], tools=True)
    return shown != without and PROBE.name in shown


def _written(tokenizer: PreTrainedTokenizerBase) -> CallFormat | None:
    """The format that reads the template's own call as what it is."""
    through = _rendered(tokenizer, [ASKED, CALLED], tools=True, opens=False)
    starts = (_rendered(tokenizer, [ASKED], tools=True), _rendered(tokenizer, [ASKED], tools=True, opens=False))
    closing = _rendered(tokenizer, [ASKED, TOLD], tools=True, opens=False).rpartition(TOLD["content"])[2]
    for start in (start for start in starts if start and through.startswith(start)):
        said = through[len(start) :].removesuffix(closing)
        for form in KNOWN:
            reader = CallReader(form, {PROBE.name: PROBE})
            reader.push(said)
            reader.flush()
            if [(call.name, call.arguments) for call in reader.calls] == [(PROBE.name, '{"probe_key": "probe value"}')]:
                return form
    return None


def _mentioned(tokenizer: PreTrainedTokenizerBase) -> CallFormat | None:
    """The format whose marks are all in the template's text: some tell the model how to call, and write no calls."""
    text = tokenizer.get_chat_template(tools=[PROBE.definition()])
    return next((form for form in KNOWN if all(mark in text for mark in form.marks)), None)


def _rendered(
    tokenizer: PreTrainedTokenizerBase, turns: list[dict[str, Any]], *, tools: bool = False, opens: bool = True
) -> str:
    """Empty where the template refuses."""
    definitions = [PROBE.definition()] if tools else []
    try:
        return PromptFormat(kind="chat").render(tokenizer, turns, definitions, opens=opens)
    except InvalidInputError:
        return ""


def _special_tokens(tokenizer: PreTrainedTokenizerBase) -> dict[str, int]:
    """Those that decoding skips, by their text."""
    added = {token.content: number for number, token in tokenizer.added_tokens_decoder.items() if token.special}
    return dict(zip(tokenizer.all_special_tokens, tokenizer.all_special_ids, strict=True)) | added
