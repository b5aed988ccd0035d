"""adapterhub's own lines.

{"prompt": "...", "adapter": "team/orders", "max_new_tokens": 64, "id": "a-1"}
{"messages": [{"role": "user", "content": "..."}], "temperature": 0.7, "seed": 3}
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, get_args

from adapterhub.asking import Question, as_prompt, turns_of
from adapterhub.asking.question import Prompt
from adapterhub.batch.answer import Answer
from adapterhub.batch.entry import TokenText
from adapterhub.engine import Sampling
from adapterhub.errors import AdapterHubError, InvalidInputError, did_you_mean
from adapterhub.prompt_format import FormatKind
from adapterhub.structure import Structure

FIELDS = ("prompt", "messages", "adapter", "format", "system", "structure", "blend", "id")
"""Beside `OPTIONS`."""
OPTIONS = tuple(name for name in Sampling.model_fields if name != "prompt_logprobs")
"""Fields of `Sampling` that lines may have; results have no place for what the others tell."""
ACCEPTED_PROMPT = "text, or a list of token ids, is accepted"


@dataclass(frozen=True)
class OwnEntry:
    """One of these lines."""

    number: int
    id: str | int | None
    question: Question
    key: str = ""

    @classmethod
    def of(cls, number: int, values: Mapping[str, Any]) -> OwnEntry:
        """Raises InvalidInputError, as `line N: field: ...`."""
        where = f"line {number}"
        known = (*FIELDS, *OPTIONS)
        for name in values:
            if name not in known:
                raise _error(where, name, f"unknown{did_you_mean(name, known)} (known: {', '.join(known)})")
        given = {name: value for name, value in values.items() if name in OPTIONS and value is not None}
        sampling = Sampling.load(given, where=where).model_dump(exclude_unset=True)
        if sampling.get("temperature"):
            sampling.setdefault("seed", number)
        words = {name: _text(values, name, where) for name in ("adapter", "system")}
        if (kind := values.get("format")) not in (None, *get_args(FormatKind)):
            raise _error(where, "format", f"{kind!r} (accepted: {', '.join(get_args(FormatKind))})")
        if kind == "raw" and words["system"] is not None:
            raise _error(where, "system", "raw text has no system turn")
        if not isinstance(known_by := values.get("id"), str | int | None):
            raise _error(where, "id", "text or a whole number is accepted")
        structure = _structure(values["structure"], where) if values.get("structure") is not None else None
        question = Question(
            _prompt(values, where),
            words["adapter"] or "",
            sampling,
            kind,
            words["system"],
            structure,
            _blend(values.get("blend"), where),
        )
        return cls(number, known_by, question)

    def answered(self, answer: Answer, token_text: TokenText) -> dict[str, Any]:
        """The answer, by whom, and what it took."""
        result: dict[str, Any] = {
            "text": answer.text,
            "finish_reason": answer.finish_reason,
            "adapter": self.question.answerer if answer.digest else "",
            "adapter_digest": answer.digest,
            "usage": {"prompt_tokens": answer.prompt_tokens, "generated_tokens": len(answer.token_ids)},
        }
        if answer.logprobs:
            pairs = zip(answer.token_ids, answer.logprobs, strict=True)
            result["logprobs"] = [
                {"token_id": token, "logprob": each.logprob, "top": [list(pair) for pair in each.top]}
                for token, each in pairs
            ]
        return self._named() | result

    def failed(self, error: AdapterHubError) -> dict[str, Any]:
        """Why there is no answer."""
        return self._named() | failure(error)

    def _named(self) -> dict[str, Any]:
        return {"line": self.number} | ({} if self.id is None else {"id": self.id})


def failure(error: AdapterHubError) -> dict[str, Any]:
    """An error as a result tells it."""
    kind = type(error).__name__.removesuffix("Error")
    field = error.field if isinstance(error, InvalidInputError) else ""
    return {"error": {"type": kind, "message": str(error)} | ({"field": field} if field else {})}


def _prompt(values: Mapping[str, Any], where: str) -> Prompt:
    prompt, messages = values.get("prompt"), values.get("messages")
    if (prompt is None) == (messages is None):
        raise _error(where, "prompt", "either prompt or messages is needed, and not both")
    if messages is not None:
        return as_prompt(turns_of(messages, where=where))
    return prompt_of(prompt, where=where)


def prompt_of(prompt: Any, *, where: str) -> Prompt:
    """Text or token ids. Raises InvalidInputError."""
    if isinstance(prompt, str):
        return prompt
    if not isinstance(prompt, list) or not prompt or not all(type(each) is int and each >= 0 for each in prompt):
        raise _error(where, "prompt", ACCEPTED_PROMPT)
    return tuple(prompt)


def _structure(given: Any, where: str) -> Structure:
    """`{"regex": ...}` and the like; a schema may be JSON itself or its text. Raises InvalidInputError."""
    if not isinstance(given, dict):
        raise _error(where, "structure", 'an object such as {"regex": "..."} is accepted')
    if isinstance(schema := given.get("json_schema"), dict):
        given = {**given, "json_schema": json.dumps(schema)}
    with said_of(where):
        return Structure.load(given, where=f"{where}: structure")


def _blend(given: Any, where: str) -> tuple[tuple[str, float], ...]:
    """`{reference: weight, ...}`. Raises InvalidInputError."""
    if given is None:
        return ()
    if not isinstance(given, dict) or not given or not all(type(weight) in (int, float) for weight in given.values()):
        raise _error(where, "blend", 'an object of references and weights such as {"team/a": 0.7} is accepted')
    return tuple((ref, float(weight)) for ref, weight in given.items())


@contextmanager
def said_of(where: str) -> Iterator[None]:
    """Errors inside begin with `where`, also those of who does not know it."""
    try:
        yield
    except InvalidInputError as error:
        if str(error).startswith(where):
            raise
        raise InvalidInputError(f"{where}: {error}", field=error.field) from None


def _text(values: Mapping[str, Any], name: str, where: str) -> str | None:
    if not isinstance(value := values.get(name), str | None):
        raise _error(where, name, f"text is accepted (given: {value!r})")
    return value


def _error(where: str, field: str, reason: str) -> InvalidInputError:
    return InvalidInputError(f"{where}: {field}: {reason}", field=field)
