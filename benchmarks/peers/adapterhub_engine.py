"""The contender that this project is: its engine, in the driver's process."""

from __future__ import annotations

from dataclasses import replace
from threading import Event as Signal

from adapterhub.adapter import read_folder
from adapterhub.base import BaseModel
from adapterhub.engine import Engine, Event, Request, Sampling
from adapterhub.testing.equality import held
from benchmarks.peers.protocol import Ask, Load, serve

PATIENCE = 3600
"""Seconds without an end after which the engine counts as hung."""


class AdapterhubEngine:
    """Options: `quantization` (none, int8, nf4), `max_sequences`, `step_tokens`."""

    libraries = ("adapterhub", "torch", "transformers")

    def __init__(self) -> None:
        self._engine: Engine | None = None
        self._digests: list[str] = []

    def load(self, job: Load) -> None:
        options = dict(job.options)
        base = BaseModel.load(str(job.model), quantization=options.pop("quantization", None))
        self._engine = Engine(base, **options)
        self._engine.start()
        for index, folder in enumerate(job.adapters):
            adapter = replace(read_folder(folder), digest=f"sha256:{index}")
            self._engine.load_adapter(adapter)
            self._digests.append(adapter.digest)

    def run(self, requests: list[Ask], new_tokens: int) -> list[list[int]]:
        assert self._engine is not None
        sampling = Sampling(max_new_tokens=new_tokens, ignore_eos=True)
        answers = [Answer() for _ in requests]
        with held(self._engine):
            for request, answer in zip(requests, answers, strict=True):
                digest = "" if request.adapter is None else self._digests[request.adapter]
                self._engine.submit(Request(tuple(request.prompt), digest, sampling), answer)
        return [answer.tokens() for answer in answers]

    def close(self) -> None:
        if self._engine is not None:
            self._engine.close()


class Answer:
    """One request's events."""

    def __init__(self) -> None:
        self._events: list[Event] = []
        self._ended = Signal()

    def __call__(self, event: Event) -> None:
        self._events.append(event)
        if event.finish_reason:
            self._ended.set()

    def tokens(self) -> list[int]:
        """All of them, when it has ended. Raises the request's error."""
        assert self._ended.wait(PATIENCE), "the engine hangs"
        if error := self._events[-1].error:
            raise error
        return [token for event in self._events for token in event.token_ids]


if __name__ == "__main__":
    serve(AdapterhubEngine())
