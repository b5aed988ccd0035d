"""What is typed in a chat, message by message."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress

import click
import platformdirs

HISTORY_LINES = 1000
CONTINUED = "... "


def piped_messages() -> Iterator[str]:
    """The messages on stdin; a line that ends with a backslash goes on in the next."""
    parts: list[str] = []
    for line in sys.stdin:
        parts.append(line.rstrip("\n"))
        if not parts[-1].endswith("\\"):
            yield _joined(parts)
            parts = []
    if parts:
        yield _joined(parts)


def typed_messages(prompt: Callable[[], str]) -> Iterator[str]:
    """The messages typed until Ctrl-D; Ctrl-C drops what stands on the line."""
    parts: list[str] = []
    while True:
        try:
            parts.append(input(CONTINUED if parts else prompt()))
        except KeyboardInterrupt:
            click.echo()
            parts = []
            continue
        except EOFError:
            click.echo()
            return
        if not parts[-1].endswith("\\"):
            message, parts = _joined(parts), []
            yield message


@contextmanager
def history(*, kept: bool) -> Iterator[None]:
    """Lines that were typed come back by the arrow keys; `kept`, also in the next chat."""
    try:
        import readline
    except ImportError:  # not of every Python
        yield
        return
    path = platformdirs.user_state_path("adapterhub") / "chat_history"
    readline.clear_history()
    if kept:
        with suppress(OSError):
            readline.read_history_file(path)
    try:
        yield
    finally:
        if kept:
            with suppress(OSError):  # no place for it is no reason to fail
                path.parent.mkdir(parents=True, exist_ok=True)
                path.touch(mode=0o600)
                readline.set_history_length(HISTORY_LINES)
                readline.write_history_file(path)


def _joined(parts: list[str]) -> str:
    return "\n".join(part.removesuffix("\\") for part in parts)
