"""Those who wait: for an adapter to be resident, or for a request to end."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from concurrent.futures import Future

from adapterhub.engine.commands import Commands
from adapterhub.engine.detokenizer import Detokenizer
from adapterhub.engine.request import Completion, Event, FinishReason
from adapterhub.engine.resident_adapter import ResidentAdapter
from adapterhub.errors import AdapterHubError, EngineStoppedError


class Arrival:
    """Waits for an adapter on a thread of its own."""

    def __init__(self) -> None:
        self._done: Future[ResidentAdapter] = Future()

    def ready(self, adapter: ResidentAdapter) -> None:
        self._done.set_result(adapter)

    def failed(self, error: AdapterHubError) -> None:
        self._done.set_exception(error)

    def result(self) -> ResidentAdapter:
        """The adapter, held. Raises why it did not come."""
        return self._done.result()


class Caller:
    """Waits for a sequence's adapter: passes the news on to the engine's thread.

    When the engine has stopped, it has ended the sequence already.
    """

    def __init__(
        self,
        commands: Commands,
        *,
        begin: Callable[[ResidentAdapter], object],
        fail: Callable[[AdapterHubError], object],
    ) -> None:
        self._commands = commands
        self._begin = begin
        self._fail = fail

    def ready(self, adapter: ResidentAdapter) -> None:
        with contextlib.suppress(EngineStoppedError):
            self._commands.send(lambda: self._begin(adapter))

    def failed(self, error: AdapterHubError) -> None:
        with contextlib.suppress(EngineStoppedError):
            self._commands.send(lambda: self._fail(error))


class Collector:
    """Gathers one request's events until its last."""

    def __init__(self, detokenizer: Detokenizer) -> None:
        self._detokenizer = detokenizer
        self._events: list[Event] = []
        self._done: Future[FinishReason] = Future()

    def __call__(self, event: Event) -> None:
        self._events.append(event)
        if event.error:
            self._done.set_exception(event.error)
        elif event.finish_reason:
            self._done.set_result(event.finish_reason)

    def result(self) -> Completion:
        """What the request gave. Raises what ended it."""
        reason = self._done.result()
        tokens = tuple(token for event in self._events for token in event.token_ids)
        texts = [event.text for event in self._events if event.text is not None]
        text = "".join(texts) if texts else self._detokenizer.push(tokens) + self._detokenizer.flush()
        logprobs = tuple(each for event in self._events for each in event.logprobs)
        prompt = tuple(each for event in self._events for each in event.prompt_logprobs)
        return Completion(text, tokens, reason, logprobs, prompt)
