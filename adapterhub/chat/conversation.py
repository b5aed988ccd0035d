"""What was said so far, and by which adapter."""

from __future__ import annotations

from dataclasses import dataclass, field

from adapterhub.prompt_format import Turn


@dataclass
class Exchange:
    """A message and its answers."""

    message: str
    answers: dict[str, str] = field(default_factory=dict)
    """Who answered -> what, in the order they were asked; several where adapters were compared."""


@dataclass
class Conversation:
    """Exchanges under one system turn. Each adapter goes on with its own answers where it gave some."""

    system: str = ""
    exchanges: list[Exchange] = field(default_factory=list)

    def turns(self, message: str, name: str) -> list[Turn]:
        """All that the adapter `name` reads before it answers `message`."""
        turns: list[Turn] = [{"role": "system", "content": self.system}] if self.system else []
        for exchange in self.exchanges:
            answer = exchange.answers.get(name, next(iter(exchange.answers.values())))
            turns.append({"role": "user", "content": exchange.message})
            turns.append({"role": "assistant", "content": answer})
        turns.append({"role": "user", "content": message})
        return turns

    def add(self, exchange: Exchange) -> None:
        """Unless nobody answered."""
        if exchange.answers:
            self.exchanges.append(exchange)

    def take_back(self) -> str | None:
        """The last message, out of the conversation with its answers; None when there is none."""
        return self.exchanges.pop().message if self.exchanges else None

    def reset(self) -> None:
        """Forget what was said; the system turn stays."""
        self.exchanges.clear()
