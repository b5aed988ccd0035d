"""Where a chat is shown."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Mapping
from typing import Protocol

from adapterhub.errors import AdapterHubError


class Screen(Protocol):
    """Shows answers as they come."""

    def note(self, text: str) -> None:
        """Something that is no answer."""

    def error(self, text: str) -> None:
        """What went wrong; the chat goes on."""

    async def show(
        self, answers: Mapping[str, AsyncGenerator[str]], said: dict[str, str]
    ) -> dict[str, AdapterHubError]:
        """Every answer under the name of who gives it, several at once; the errors of those that failed.

        `said` holds what of each has come, also when this is cancelled.
        """
