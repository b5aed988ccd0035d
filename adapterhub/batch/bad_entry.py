"""A line that cannot be asked, where it is to be skipped."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from adapterhub.asking import Question
from adapterhub.batch.answer import Answer
from adapterhub.batch.entry import TokenText
from adapterhub.batch.own_entry import failure
from adapterhub.errors import AdapterHubError, InvalidInputError


@dataclass(frozen=True)
class BadEntry:
    """Has a reason in the place of a question."""

    number: int
    custom_id: str | None
    """Of a line that would have been OpenAI's."""
    error: InvalidInputError
    key: str = ""

    @property
    def question(self) -> Question:
        raise AssertionError("there is none")

    def answered(self, answer: Answer, token_text: TokenText) -> dict[str, Any]:
        raise AssertionError("it was not asked")

    def failed(self, error: AdapterHubError) -> dict[str, Any]:
        """Why it was not asked."""
        told = failure(error)["error"]
        if self.custom_id is None:
            return {"line": self.number, "error": told}
        code = {"code": "invalid_line", "message": told["message"]}
        return {"id": f"batch_req_line_{self.number}", "custom_id": self.custom_id, "response": None, "error": code}
