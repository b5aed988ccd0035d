"""Regular expressions that come with an adapter: the meaning of `re`, and never slow.

PEFT's options may be regular expressions, and an adapter may be a stranger's: one that backtracks without
end would hold up whoever loads it. The `regex` package can be told when to stop. What it reads
otherwise than `re` does is refused, and what is slow is refused by name.
"""

from __future__ import annotations

import math
import re
import time
import warnings
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from contextvars import ContextVar
from functools import lru_cache
from typing import Any

from adapterhub.errors import ConfigError

SECONDS = 0.1
"""Of the processor, what one expression may take in all; matching a module's name takes some microseconds."""
SECONDS_TOGETHER = 1.0
"""Of the processor, what all expressions of one adapter may take."""
MAX_LENGTH = 4096
MAX_COPIES = 4096
"""`regex` unrolls what repeats: twice for each group around it, and as often as braces say."""
_SLOW = 0.001
"""Seconds from which on a match counts."""
_NO_REPEAT = re.compile(r"\{(?!\d+(,\d*)?\}|,\d+\})")
"""A brace that `re` takes for itself, and `regex` for the beginning of a fuzzy match."""


class _Allowance:
    """What expressions may still take together."""

    def __init__(self) -> None:
        self._left = SECONDS_TOGETHER

    @contextmanager
    def spending(self) -> Iterator[None]:
        """Raises ValueError when nothing is left."""
        if self._left <= 0:
            raise ValueError(f"one regular expression too many: all of them take more than {SECONDS_TOGETHER} s")
        start = time.thread_time()
        try:
            yield
        finally:
            self._left -= time.thread_time() - start


_allowance: ContextVar[_Allowance | None] = ContextVar("_allowance", default=None)


@contextmanager
def limited_together() -> Iterator[None]:
    """Expressions that are compiled and matched inside, an adapter's, share SECONDS_TOGETHER."""
    token = _allowance.set(_Allowance())
    try:
        yield
    finally:
        _allowance.reset(token)


def check_pattern(pattern: str) -> str:
    """The pattern as it is. Raises ValueError when it is no regular expression."""
    with _spending():
        _compiled(pattern)
    return pattern


def match_pattern(pattern: str, text: str, *, field_name: str, whole: bool = False) -> re.Match[str] | None:
    """As `re.match`, or with `whole` as `re.fullmatch`.

    Raises ConfigError naming the field when it takes too long, or is no regular expression.
    """
    try:
        with _spending():
            found: re.Match[str] | None = _compiled(pattern).match(text, whole=whole)
    except TimeoutError:
        raise ConfigError(
            f"{field_name}: the regular expression {pattern!r} takes more than {SECONDS} s to match names of modules "
            "(accepted: a list of names, or an expression without repeats in repeats)",
            field=field_name,
        ) from None
    except ValueError as error:
        raise ConfigError(f"{field_name}: {pattern!r} is {error}", field=field_name) from None
    return found


class _Bounded:
    """A compiled expression with the time it has left."""

    def __init__(self, compiled: Any) -> None:
        self._compiled = compiled
        self._left = SECONDS

    def match(self, text: str, *, whole: bool) -> Any:
        """Raises TimeoutError when its time is up, now or before."""
        if self._left <= 0:
            raise TimeoutError
        match = self._compiled.fullmatch if whole else self._compiled.match
        start = time.thread_time()
        try:
            return match(text, timeout=self._left)
        except TimeoutError:
            self._left = 0
            raise
        finally:
            if (taken := time.thread_time() - start) > _SLOW:
                self._left -= taken


def _spending() -> AbstractContextManager[None]:
    allowance = _allowance.get()
    return nullcontext() if allowance is None else allowance.spending()


@lru_cache(maxsize=4096)
def _compiled(pattern: str) -> _Bounded:
    """Raises ValueError when it is no regular expression, or one that is not `re`'s."""
    import regex  # here, so that listings need not wait for it

    if len(pattern) > MAX_LENGTH:
        raise ValueError(f"a regular expression of {len(pattern)} characters (accepted: at most {MAX_LENGTH})")
    if _copies(pattern) > MAX_COPIES:
        raise ValueError("a regular expression with too many repeats in repeats")
    if _NO_REPEAT.search(pattern):
        raise ValueError("not a regular expression: a { that is no number of repeats")
    try:
        with warnings.catch_warnings(action="error"):
            re.compile(pattern)
            return _Bounded(regex.compile(pattern))
    except (re.error, regex.error, FutureWarning, OverflowError, RecursionError) as error:
        raise ValueError(f"not a regular expression: {error}") from None


def _copies(pattern: str) -> int:
    """How often, at most, a part of the expression may be unrolled."""
    depth = deepest = 0
    for bracket in re.findall(r"\\.|[()]", pattern):
        depth += {"(": 1, ")": -1}.get(bracket, 0)
        deepest = max(deepest, depth)
    counts = [max(1, int(number)) for number in re.findall(r"\{(?:\d*,)?(\d{1,9})", pattern)]
    return math.prod(counts) << min(deepest, 64)
