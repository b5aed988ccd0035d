"""Every error a user can cause or meet, in one tree.

    AdapterHubError                      exit 1
    ├── InvalidInputError                exit 2   a value the caller gave, by name
    │   ├── ConfigError                           a setting: unknown, or out of range
    │   ├── DataError                             training data: file, line and what is wrong
    │   └── RefError                              not an adapter reference
    ├── NotFoundError                    exit 3
    │   ├── AdapterNotFoundError
    │   ├── BaseNotFoundError
    │   └── MethodNotFoundError
    ├── ConflictError                    exit 4   the state of the store or server forbids it
    ├── AuthError                        exit 5   not logged in, or not allowed
    │   └── ForbiddenError                        logged in, and not allowed
    ├── UnavailableError                 exit 6   try again, or start something first
    │   ├── QueueFullError
    │   └── EngineStoppedError
    ├── IntegrityError                   exit 7   refused because it could not be served exactly
    │   ├── CorruptAdapterError                   the file itself is wrong
    │   ├── UnsupportedAdapterError               well formed, but asks for what is not served
    │   ├── UnsupportedBaseError                  a base model the engine cannot serve exactly
    │   └── BaseMismatchError                     made for another base model
    └── PluginError                      exit 1   a plugin raised, or broke its contract
        └── RouterError                           a router, with a message that anybody may read

A message names the culprit and what would be accepted. `assert` is for our own bugs; user
mistakes raise from this tree.
"""

from __future__ import annotations

from collections.abc import Iterable
from difflib import get_close_matches
from pathlib import Path


class AdapterHubError(Exception):
    """Base of all errors meant for users; `exit_code` is what the command line returns."""

    exit_code = 1


class InvalidInputError(AdapterHubError):
    """A value the caller gave is not acceptable. `field` names it, when there is one."""

    exit_code = 2

    def __init__(self, message: str, *, field: str = "") -> None:
        super().__init__(message)
        self.field = field


class ConfigError(InvalidInputError):
    """A setting is unknown or out of range."""


class DataError(InvalidInputError):
    """Training data that cannot be used; the message starts with `file:line:`."""

    def __init__(self, path: Path | str, line: int, problem: str) -> None:
        super().__init__(f"{path}:{line}: {problem}", field="data")
        self.source = str(path)
        self.line = line


class RefError(InvalidInputError):
    """Text that is not an adapter reference."""


class NotFoundError(AdapterHubError):
    """Something named does not exist. `resource` is the name that was asked for."""

    exit_code = 3

    def __init__(self, message: str, *, resource: str = "") -> None:
        super().__init__(message)
        self.resource = resource


class AdapterNotFoundError(NotFoundError):
    """No adapter of that name or digest."""


class BaseNotFoundError(NotFoundError):
    """No base model of that name, folder or Hub id."""


class MethodNotFoundError(NotFoundError):
    """No registered method of that name."""


class ConflictError(AdapterHubError):
    """The present state forbids the change (a ref moved meanwhile, an adapter is in use)."""

    exit_code = 4


class AuthError(AdapterHubError):
    """Not logged in, or not allowed."""

    exit_code = 5


class ForbiddenError(AuthError):
    """Logged in, and not allowed."""


class UnavailableError(AdapterHubError):
    """Not possible now; it may be later."""

    exit_code = 6


class QueueFullError(UnavailableError):
    """The server's queue is full. `retry_after` is in seconds."""

    def __init__(self, message: str, *, retry_after: float) -> None:
        super().__init__(message)
        self.retry_after = retry_after


class EngineStoppedError(UnavailableError):
    """The engine is not running (closed, or its thread died)."""


class IntegrityError(AdapterHubError):
    """Refused because it could not be served exactly as it was made."""

    exit_code = 7


class CorruptAdapterError(IntegrityError):
    """A file of the adapter is truncated, altered or not of the accepted format."""


class UnsupportedAdapterError(IntegrityError):
    """The adapter asks for something no installed method serves."""


class UnsupportedBaseError(IntegrityError):
    """The base model has state or attention that the engine does not serve."""


class BaseMismatchError(IntegrityError):
    """The adapter was made for another base model."""


class PluginError(AdapterHubError):
    """A plugin raised, or broke its contract."""


class RouterError(PluginError):
    """A router raised, or picked what it was not given. The message names the router; its cause is for the log."""


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """`"; did you mean 'lora'?"` when one of `known` is close to `name`, else an empty string."""
    close = get_close_matches(name, list(known), n=1)
    return f"; did you mean {close[0]!r}?" if close else ""
