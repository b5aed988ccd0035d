"""Completion in bash, which breaks words at colons.

`team/orders:v` arrives as three words, and what is answered replaces the last of them.
"""

from __future__ import annotations

from typing import Any

from click.shell_completion import BashComplete, CompletionItem


class ColonBash(BashComplete):
    """click's, with words put together again at their colons."""

    _kept = ""
    """What bash keeps in front of the word that it replaces."""

    def get_completion_args(self) -> tuple[list[str], str]:
        args, incomplete = super().get_completion_args()
        words = _joined([*args, incomplete])
        self._kept = words[-1][: words[-1].rfind(":") + 1]
        return words[:-1], words[-1]

    def format_completion(self, item: CompletionItem[Any]) -> str:
        return f"{item.type},{item.value.removeprefix(self._kept)}"


def _joined(words: list[str]) -> list[str]:
    joined: list[str] = []
    for word in words:
        if joined and (word.startswith(":") or joined[-1].endswith(":")):
            joined[-1] += word
        else:
            joined.append(word)
    return joined
