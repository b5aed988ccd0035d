"""Questions to a running server."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, suppress
from typing import Self

from adapterhub.asking import Question
from adapterhub.asking.own_engine import BASE
from adapterhub.asking.question import Prompt
from adapterhub.batch.answer import Answer, TokenLogprobs
from adapterhub.batch.asker import AHEAD, Promise
from adapterhub.client import Client, Turn
from adapterhub.errors import ConflictError, IntegrityError, NotFoundError, QueueFullError
from adapterhub.store import AdapterRef

MOST_CALLS = 128
"""At once; a server lets one client have 256 by default."""


class ServerAsker:
    """So many calls at once that the server's steps stay full. A context: leaving it ends what is under way."""

    def __init__(self, client: Client) -> None:
        """Raises UnavailableError when there is no server."""
        self._client = client
        info = client.info()
        self._info = info
        self.window = AHEAD * info.limits.max_sequences
        self._calls = ThreadPoolExecutor(min(MOST_CALLS, 2 * info.limits.max_sequences))
        self._leaving = threading.Event()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._leaving.set()
        self._client.close()
        self._calls.shutdown(cancel_futures=True)

    @property
    def base(self) -> str:
        return self._info.base_id

    @property
    def runtime_digest(self) -> str:
        return self._info.runtime_digest

    def is_base(self, name: str) -> bool:
        return name in (BASE, self._info.base_id)

    def load(self, ref: str) -> str:
        asked = AdapterRef.parse(ref)
        with suppress(NotFoundError):  # not asked for yet
            if self._client.get(ref).state == "unloaded":
                raise ConflictError(f"adapter {ref} was unloaded at the server; load it again first: adapterhub load")
        self._client.load(ref)
        with closing(self._client.watch(ref)) as states:
            for adapter in states:
                if adapter.state == "resident":
                    return f"{asked.label}@{adapter.digest}"
                if adapter.state == "failed":
                    raise IntegrityError(f"{ref}: {adapter.reason}")
        raise ConflictError(f"{ref}: unloaded meanwhile")

    def names_still(self, ref: str, pinned: str) -> bool:
        return True  # the store is the server's

    def check(self, question: Question) -> None:
        """Nothing is known of lengths here; the server refuses what it has no room for."""

    def ask(self, question: Question) -> Promise:
        ended = self._calls.submit(self._ask, question)
        return Promise(ended, ended.result)

    def token_text(self, token_id: int) -> str:
        return f"token_id:{token_id}"  # the vocabulary is the server's

    def _ask(self, question: Question) -> Answer:
        while True:
            try:
                found = self._client.generate(
                    _prompt(question.prompt),
                    adapter=question.adapter,
                    kind=question.kind,
                    system_prompt=question.system_prompt,
                    structure=question.structure,
                    blend=dict(question.blend) or None,
                    **question.sampling,
                )
            except QueueFullError as error:  # others ask it too
                if self._leaving.wait(error.retry_after):
                    raise
                continue
            logprobs = tuple(TokenLogprobs(each.logprob, each.top) for each in found.logprobs)
            return Answer(
                found.text,
                found.token_ids,
                found.finish_reason,
                found.usage.prompt_tokens,
                logprobs,
                found.adapter_digest,
            )


def _prompt(prompt: Prompt) -> str | Sequence[int] | Sequence[Turn]:
    if isinstance(prompt, str):
        return prompt
    turns = [Turn(each["role"], each["content"]) for each in prompt if not isinstance(each, int)]
    return turns or [each for each in prompt if isinstance(each, int)]
