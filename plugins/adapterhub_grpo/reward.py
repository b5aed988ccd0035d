"""The user's reward: a function of theirs, by the name of its module. Needs no torch."""

from __future__ import annotations

import importlib
import inspect
import math
import sys
import traceback
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from adapterhub import ConfigError

FORM = "module:function, such as rewards:exact"
SIGNATURE = "reward(prompts, completions, expected)"


class Reward:
    """A function `reward(prompts, completions, expected)` that gives one number for each answer, greater is better.

    prompts, completions, expected: lists of text of one length; `expected` holds the completion that
    the data have for the prompt.
    """

    def __init__(self, name: str) -> None:
        """Imports it, also from the current folder. Raises ValueError saying what is wrong with `name`."""
        module, _, function = name.partition(":")
        if not module or not function.isidentifier():
            raise ValueError(f"not of the form {FORM}")
        self.name = name
        self.__name__ = function  # as TRL calls it in its logs
        self._function = _function(module, function)

    def __call__(self, prompts: Sequence[str], completions: Sequence[str], expected: Sequence[str]) -> list[float]:
        """Raises ConfigError when the function raises, or does not give a finite number for each."""
        try:
            found = self._function(prompts=list(prompts), completions=list(completions), expected=list(expected))
        except Exception as error:
            at = traceback.extract_tb(error.__traceback__)[-1]
            told = f"{type(error).__name__}: {error} ({Path(at.filename).name}, line {at.lineno})"
            raise ConfigError(f"reward: {self.name} raised {told}", field="reward") from error
        try:
            rewards = [float(each) for each in found]
        except (TypeError, ValueError):
            raise self._wrong(f"{found!r}") from None
        if len(rewards) != len(completions):
            raise self._wrong(f"{len(rewards)} rewards for {len(completions)} answers")
        if unusable := [each for each in rewards if not math.isfinite(each)]:
            raise self._wrong(f"the reward {unusable[0]}")
        return rewards

    def _wrong(self, given: str) -> ConfigError:
        return ConfigError(
            f"reward: {self.name} gave {given}; need a list of one number for each answer", field="reward"
        )


def _function(module: str, name: str) -> Callable[..., Any]:
    try:
        with _current_folder():
            found = importlib.import_module(module)
    except ModuleNotFoundError as error:
        if error.name is None or not f"{module}.".startswith(f"{error.name}."):
            raise ValueError(f"{module} cannot be imported: {error}") from None
        raise ValueError(f"no module {error.name!r}, neither installed nor in {Path.cwd()}") from None
    except Exception as error:  # noqa: BLE001  whatever a user's module raises is to be told as theirs
        raise ValueError(f"{module} cannot be imported: {type(error).__name__}: {error}") from None
    if not callable(function := getattr(found, name, None)):
        there = ", ".join(key for key, value in vars(found).items() if inspect.isfunction(value)) or "none"
        raise ValueError(f"{module} has no function {name!r} (functions there: {there})")
    try:
        inspect.signature(function).bind(prompts=[], completions=[], expected=[])
    except TypeError as error:
        raise ValueError(f"{name} is not called as {SIGNATURE}: {error}") from None
    return function  # type: ignore[no-any-return]


@contextmanager
def _current_folder() -> Iterator[None]:
    """Modules of the current folder are found first, as with `python -m`."""
    folder = str(Path.cwd())
    sys.path.insert(0, folder)
    importlib.invalidate_caches()
    try:
        yield
    finally:
        sys.path.remove(folder)
