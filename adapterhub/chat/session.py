"""A chat: lines in, answers on a screen; commands begin with a slash."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping
from contextlib import aclosing
from typing import Any, NamedTuple

from adapterhub.asking import Question, as_prompt
from adapterhub.chat.conversation import Conversation, Exchange
from adapterhub.chat.screen import Screen
from adapterhub.chat.voice import Voice
from adapterhub.errors import AdapterHubError, InvalidInputError, did_you_mean

BASE = "base"
"""What the bare base is called."""


class Command(NamedTuple):
    """What stands behind a slash."""

    usage: str
    told: str
    run: Callable[[str], Awaitable[None]]


class Session:
    """One conversation, and who answers in it."""

    def __init__(self, voice: Voice, screen: Screen, *, system: str = "", sampling: Mapping[str, Any]) -> None:
        self.conversation = Conversation(system)
        self.answering: tuple[str, ...] = (BASE,)
        """Names of who answers; two where they are compared."""
        self.ended = False
        self._voice = voice
        self._screen = screen
        self._sampling = sampling
        self._told_raw: set[str] = set()
        self.commands = {
            "adapter": Command("[NAME]", f"answers from now on; `{BASE}` or nothing for the bare base", self._adapter),
            "compare": Command("A B", "both answer from now on, side by side", self._compare),
            "adapters": Command("", "list the adapters", self._adapters),
            "system": Command("[TEXT]", "the system turn; without TEXT, each adapter's own", self._system),
            "retry": Command("", "answer the last message again", self._retry),
            "reset": Command("", "forget what was said", self._reset),
            "transcript": Command("", "what was said, and by whom", self._transcript),
            "help": Command("", "this list", self._help),
            "quit": Command("", "end, as Ctrl-D does", self._quit),
        }

    async def take(self, line: str) -> None:
        """A message or a command. Whatever goes wrong is shown; cancelled, what was answered until then is kept.

        `//` begins a message with a slash.
        """
        try:
            if line.startswith("//"):
                await self._ask(line[1:])
            elif line.startswith("/"):
                await self._obey(*line[1:].partition(" ")[::2])
            elif line.strip():
                await self._ask(line)
        except AdapterHubError as error:
            self._screen.error(str(error))

    async def choose(self, *names: str) -> None:
        """Who answers from now on. Raises why one cannot; then it is who it was."""
        for name in names:
            if name != BASE:
                await self._voice.load(name)
        self.answering = names

    async def _obey(self, name: str, rest: str) -> None:
        if name not in self.commands:
            known = ", ".join(f"/{each}" for each in self.commands)
            raise InvalidInputError(f"/{name}: no command{did_you_mean(name, self.commands)} (known: {known})")
        await self.commands[name].run(rest.strip())

    async def _ask(self, message: str) -> None:
        exchange = Exchange(message)
        said: dict[str, str] = {}
        answers = {name: self._answer(message, name) for name in self.answering}
        try:
            failed = await self._screen.show(answers, said)
        finally:
            exchange.answers.update({name: said[name] for name in self.answering if said.get(name)})
            self.conversation.add(exchange)
        for name, error in failed.items():
            self._screen.error(f"{name}: {error}" if len(self.answering) > 1 else str(error))

    async def _answer(self, message: str, name: str) -> AsyncGenerator[str]:
        """As turns of a chat; where the prompt format has none, the message alone."""
        adapter = "" if name == BASE else name
        prompt = as_prompt(tuple(self.conversation.turns(message, name)))
        for attempt in (Question(prompt, adapter, self._sampling), Question(message, adapter, self._sampling)):
            try:
                async with aclosing(self._voice.answer(attempt)) as pieces:
                    async for piece in pieces:
                        if piece.adapter and not adapter:
                            self._screen.note(f"the server's router picked {piece.adapter}")
                        yield piece.text
                return
            except InvalidInputError as error:
                if error.field != "chat" or attempt.prompt is message:
                    raise
            if name not in self._told_raw:
                self._told_raw.add(name)
                self._screen.note(f"{name} reads raw text: your last message alone, without what was said before")

    async def _adapter(self, name: str) -> None:
        await self.choose(name or BASE)
        self._screen.note(f"{name or BASE} answers")

    async def _compare(self, words: str) -> None:
        names = words.split()
        if len(names) != 2 or names[0] == names[1]:
            raise InvalidInputError("/compare: two names are needed, such as /compare team/orders base")
        await self.choose(*names)
        self._screen.note(f"{names[0]} and {names[1]} answer; /adapter NAME goes on with one")

    async def _adapters(self, _: str) -> None:
        for name in [BASE, *await self._voice.names()]:
            marked = "*" if name in self.answering or name.removesuffix(":latest") in self.answering else " "
            self._screen.note(f"{marked} {name}")

    async def _system(self, text: str) -> None:
        self.conversation.system = text
        self._screen.note("the system turn is set" if text else "the system turn is each adapter's own")

    async def _retry(self, _: str) -> None:
        if (message := self.conversation.take_back()) is None:
            raise InvalidInputError("/retry: nothing was said yet")
        await self._ask(message)

    async def _reset(self, _: str) -> None:
        self.conversation.reset()
        self._screen.note("a new conversation")

    async def _transcript(self, _: str) -> None:
        for exchange in self.conversation.exchanges:
            self._screen.note(f"you: {exchange.message}")
            for name, text in exchange.answers.items():
                self._screen.note(f"{name}: {text}")

    async def _help(self, _: str) -> None:
        usages = {f"/{name} {command.usage}".rstrip(): command.told for name, command in self.commands.items()}
        width = max(map(len, usages))
        for usage, told in usages.items():
            self._screen.note(f"{usage:{width}}  {told}")
        self._screen.note("A backslash at a line's end goes on in the next; // begins a message with a slash.")

    async def _quit(self, _: str) -> None:
        self.ended = True
