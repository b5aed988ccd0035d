"""How questions are put to a model: a prompt format, and for the bare base an instruction and examples.

In a chat, examples are earlier turns: the template then marks where each answer begins and ends, as it does
in what the model was tuned on. In raw text there are no turns; examples are text in front of the question, prompt and
completion joined as in training and set apart by an empty line, and an answer ends where the next
empty line would begin another example.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from adapterhub.errors import DataError
from adapterhub.evaluate.questions import Question, asked_of, expected_of
from adapterhub.prompt_format import PromptFormat, Turn
from adapterhub.records import Pair

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

SEPARATORS = ("\n\n", "\n\n###\n\n", "\n\n######\n\n")
"""What sets raw examples apart: the first of these that is in none of them."""


def separator(texts: Iterable[Question]) -> str:
    """What sets these apart."""
    joined = "\0".join(
        turn for each in texts for turn in (*(turn["content"] for turn in asked_of(each)), expected_of(each))
    )
    return next((each for each in SEPARATORS if each not in joined), SEPARATORS[-1])


@dataclass(frozen=True)
class Prompting:
    """How every question is put; an adapter has its recorded format and nothing else."""

    prompt_format: PromptFormat
    shots: tuple[Question, ...] = ()
    """Examples with their answers, in front of the question."""
    instruction: str = ""
    separator: str = ""
    """Of raw prompts to the bare base: sets examples apart, and ends an answer."""

    @property
    def stop(self) -> tuple[str, ...]:
        """Where an answer ends before its closing token: a bare base that is given raw text goes on without end."""
        return (self.separator,) if self.separator and self.prompt_format.kind == "raw" else ()

    def encode(self, tokenizer: PreTrainedTokenizerBase, question: Question, source: str) -> list[int]:
        """The prompt's token ids. Raises DataError for a conversation in a format without turns."""
        if self.prompt_format.kind == "raw":
            parts = [_raw(shot, source) + expected_of(shot) for shot in self.shots]
            instruction = [self.instruction] if self.instruction else []
            text = self.separator.join([*instruction, *parts, _raw(question, source)])
            return self.prompt_format.encode_prompt(tokenizer, text)
        return self.prompt_format.encode_turns(tokenizer, self._turns(question))

    def _turns(self, question: Question) -> list[Turn]:
        """The instruction or the question's own system turn, examples without theirs, the question."""
        asked = asked_of(question)
        system = [turn for turn in asked if turn["role"] == "system"]
        if self.instruction:
            system = [{"role": "system", "content": self.instruction}]
        turns = system
        for shot in self.shots:
            turns += [*_without_system(asked_of(shot)), {"role": "assistant", "content": expected_of(shot)}]
        return turns + _without_system(asked)


def _raw(question: Question, source: str) -> str:
    if isinstance(question, Pair):
        return question.prompt
    raise DataError(source, question.line, "a conversation, and the prompt format is raw text, which has no turns")


def _without_system(turns: list[Turn]) -> list[Turn]:
    return [turn for turn in turns if turn["role"] != "system"]
