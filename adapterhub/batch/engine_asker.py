"""Questions to an engine of this process's own."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Future

from adapterhub.asking import OwnEngine, Question
from adapterhub.batch.answer import Answer, TokenLogprobs
from adapterhub.batch.asker import AHEAD, Promise
from adapterhub.engine import Event, Request
from adapterhub.engine.detokenizer import Detokenizer
from adapterhub.engine.waiters import Collector
from adapterhub.errors import AdapterHubError, EngineStoppedError


class EngineAsker:
    """All adapters in one batch of the engine."""

    def __init__(self, own: OwnEngine) -> None:
        self._own = own
        self._tokenizer = own.base.tokenizer

    @staticmethod
    def window_of(max_sequences: int) -> int:
        """What `window` is over such an engine."""
        return AHEAD * max_sequences

    @property
    def window(self) -> int:
        return self.window_of(self._own.engine.limits.max_sequences)

    @property
    def base(self) -> str:
        return self._own.base.record.id

    @property
    def runtime_digest(self) -> str:
        return self._own.base.runtime_digest

    def is_base(self, name: str) -> bool:
        return name in self._own.base_names

    def load(self, ref: str) -> str:
        return str(self._own.load_adapter(ref))

    def names_still(self, ref: str, pinned: str) -> bool:
        return self._own.names_still(ref, pinned)

    def check(self, question: Question) -> None:
        self._own.request(question)

    def ask(self, question: Question) -> Promise:
        ended: Future[None] = Future()
        collector = Collector(Detokenizer(self._tokenizer))

        def receive(event: Event) -> None:
            """On the engine's thread, which has better to do than to make text of tokens."""
            collector(event)
            if event.error:
                ended.set_exception(event.error)
            elif event.finish_reason == "cancelled":
                ended.set_exception(EngineStoppedError("the engine was closed"))
            elif event.finish_reason:
                ended.set_result(None)

        try:
            request = self._own.request(question)
            self._own.engine.submit(request, receive)
        except AdapterHubError as error:
            ended.set_exception(error)
            return Promise(ended, _raising(error))
        return Promise(ended, lambda: _answer(ended, collector, request))

    def token_text(self, token_id: int) -> str:
        return str(self._tokenizer.decode([token_id]))


def _answer(ended: Future[None], collector: Collector, request: Request) -> Answer:
    ended.result()
    completion = collector.result()
    logprobs = tuple(TokenLogprobs(each.chosen, each.top) for each in completion.logprobs)
    prompt_tokens = len(request.prompt_ids)
    return Answer(
        completion.text, completion.token_ids, completion.finish_reason, prompt_tokens, logprobs, request.adapter
    )


def _raising(error: AdapterHubError) -> Callable[[], Answer]:
    def read() -> Answer:
        raise error

    return read
