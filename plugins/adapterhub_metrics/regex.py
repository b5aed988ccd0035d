"""Whether an answer has a form, told by a regular expression."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Self

from adapterhub import ConfigError
from adapterhub.metric import Metric

SECONDS = 1.0
"""What one answer may take."""


class Regex(Metric):
    r"""1 where the expression is found in the answer without the white space around it: `--metric regex='^\d+$'`.

    What was expected plays no part. The expression is the user's own; one that backtracks without end is
    stopped, and named.
    """

    name = "regex"
    description = "the regular expression is found in the answer, white space around it aside"

    def __init__(self, pattern: str = "") -> None:
        self._pattern = pattern

    @property
    def label(self) -> str:
        return f"{self.name}={self._pattern}"

    def configured(self, argument: str) -> Self:
        if not argument:
            raise ConfigError(r"metric regex: no expression (accepted: such as regex='^\d+$')", field="metric")
        made = type(self)(argument)
        made._compiled()
        return made

    def scores(self, answers: Sequence[str], expected: Sequence[str]) -> list[float]:
        compiled = self._compiled()
        try:
            return [float(compiled.search(answer.strip(), timeout=SECONDS) is not None) for answer in answers]
        except TimeoutError:
            raise ConfigError(
                f"metric regex: {self._pattern!r} takes more than {SECONDS} s on an answer "
                "(accepted: an expression without repeats in repeats)",
                field="metric",
            ) from None

    def _compiled(self) -> Any:
        import regex  # here, so that the other metrics need not wait for it

        try:
            return regex.compile(self._pattern)
        except (regex.error, OverflowError, RecursionError) as error:
            raise ConfigError(
                f"metric regex: {self._pattern!r} is not a regular expression: {error}", field="metric"
            ) from None
