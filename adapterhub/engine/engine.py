"""The engine: one thread that owns the model, the KV cache and the adapters' hooks.

    schedule -> run -> sample -> events

Requests join and leave between steps, rows of any adapters and methods run together, and a request
keeps the adapter it started with. Other threads only send commands and receive events.
"""

from __future__ import annotations

import contextlib
import itertools
import logging
import queue
import threading
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, NamedTuple

from torch import Tensor

from adapterhub.adapter import Adapter
from adapterhub.engine.adapter_pool import AdapterPool, ResidentAdapter, prepare
from adapterhub.engine.kv_cache import KVCache
from adapterhub.engine.request import Completion, Event, FinishReason, Request
from adapterhub.engine.routing import Routing
from adapterhub.engine.runner import Runner
from adapterhub.engine.sampler import sample
from adapterhub.engine.scheduler import Scheduler
from adapterhub.engine.sequence import Chunk, Sequence
from adapterhub.errors import AdapterHubError, EngineStoppedError, InvalidInputError, PluginError, QueueFullError
from adapterhub.plugins import Methods, installed_methods

if TYPE_CHECKING:
    from adapterhub.base import BaseModel

log = logging.getLogger(__name__)

MAX_REQUESTS = 1024
"""Waiting and running together; more are refused."""
STEP_TOKENS = 256


class AdapterStatus(NamedTuple):
    """One resident adapter, as `Engine.adapters` lists it."""

    digest: str
    method: str
    nbytes: int
    running: int


@dataclass(frozen=True)
class EngineStats:
    """Counters since the start, and what is held now."""

    steps: int = 0
    mixed_adapter_steps: int = 0
    """Steps in which rows of more than one adapter ran together."""
    mixed_method_steps: int = 0
    """Steps in which rows of more than one method ran together."""
    prompt_tokens: int = 0
    generated_tokens: int = 0
    running: int = 0
    waiting: int = 0
    kv_tokens_free: int = 0
    kv_tokens_total: int = 0


class Engine:
    """Generates for requests over one base, each with its own adapter or none.

    `observe` is called on the engine's thread with every sampled row's logits, `[vocab]`, before the
    token is chosen.
    """

    def __init__(
        self,
        base: BaseModel,
        *,
        max_sequences: int = 32,
        kv_tokens: int = 16384,
        max_context: int | None = None,
        step_tokens: int = STEP_TOKENS,
        methods: Methods | None = None,
        observe: Callable[[Sequence, Tensor], None] | None = None,
    ) -> None:
        self.base = base
        self._methods = methods or installed_methods()
        self._cache = KVCache(base.shape, kv_tokens, dtype=base.compute_dtype, device=base.device)
        self.max_context = min(max_context or base.shape.max_positions, base.shape.max_positions, self._cache.capacity)
        self._scheduler = Scheduler(self._cache, max_sequences=max_sequences, step_tokens=step_tokens)
        self._pool = AdapterPool()
        self._observe = observe
        self._stats = EngineStats()
        self._eos = _eos_ids(base)
        self._ids = itertools.count(1)
        self._sequences: dict[int, Sequence] = {}
        self._seats = threading.BoundedSemaphore(MAX_REQUESTS)
        self._commands: queue.SimpleQueue[Callable[[], object]] = queue.SimpleQueue()
        self._door = threading.Lock()
        """Held to send a command, and to shut: no command is sent that nobody would do."""
        self._shut = True
        self._stopping = False
        self._thread: threading.Thread | None = None

    def start(self) -> None:
        """Take over the model and start the engine's thread."""
        assert self._thread is None
        self._runner = Runner(self.base, self._cache)
        self._thread = threading.Thread(target=self._main, name="adapterhub-engine", daemon=True)
        self._shut = False
        self._thread.start()

    def close(self) -> None:
        """End what runs as cancelled, stop the thread and give the model back."""
        if self._thread is None:
            return
        self._stopping = True
        self._commands.put(lambda: None)  # wakes a thread that waits for work
        self._thread.join()
        self._thread = None
        self._runner.close()

    def __enter__(self) -> Engine:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def load_adapter(self, adapter: Adapter) -> None:
        """Read, check and place an adapter; returns once requests may name it. Blocks; any thread.

        Raises IntegrityError when it does not fit this base or cannot be served exactly.
        """
        dtype, device = self.base.compute_dtype, self.base.device
        resident = prepare(adapter, self._methods, self.base, dtype=dtype, device=device)
        self._ask(lambda: self._runner.sites.attach(resident.sites))
        self._pool.add(resident)

    def unload_adapter(self, digest: str) -> None:
        """Take no new request for an adapter, and free it when its last one ends.

        Raises AdapterNotFoundError when it is not resident.
        """
        self._pool.remove(digest)

    def adapters(self) -> list[AdapterStatus]:
        """The resident adapters."""
        return [AdapterStatus(a.digest, a.method.name, a.nbytes, a.running) for a in self._pool.resident()]

    def submit(self, request: Request, on_event: Callable[[Event], None]) -> int:
        """Queue a request from any thread; `on_event` is called on the engine's thread. Returns its id.

        Raises InvalidInputError naming the field, AdapterNotFoundError, QueueFullError or
        EngineStoppedError, all before anything is queued.
        """
        if not self._seats.acquire(blocking=False):
            raise QueueFullError(f"{MAX_REQUESTS} requests are waiting or running", retry_after=1.0)
        adapter = None
        try:
            adapter = self._pool.acquire(request.adapter) if request.adapter else None
            sequence = Sequence(next(self._ids), request, adapter, on_event, list(request.prompt_ids))
            self._check_request(sequence)
            self._send(lambda: self._add(sequence))
        except AdapterHubError:
            self._leave(adapter)
            raise
        return sequence.id

    def cancel(self, request_id: int) -> None:
        """End a request; its cache is free before the next step. Any thread; unknown ids are ignored."""
        with contextlib.suppress(EngineStoppedError):
            self._send(lambda: self._cancel(request_id))

    def generate(self, requests: list[Request]) -> list[Completion]:
        """Run a batch and wait for all of it, in order. Raises the error of the first request that failed."""
        waits = [_Collector() for _ in requests]
        for request, wait in zip(requests, waits, strict=True):
            self.submit(request, wait)
        return [wait.result() for wait in waits]

    def stats(self) -> EngineStats:
        """Counters and what is held now."""
        return replace(
            self._stats,
            running=len(self._scheduler.running),
            waiting=len(self._scheduler.waiting),
            kv_tokens_free=self._cache.free,
            kv_tokens_total=self._cache.capacity,
        )

    def check_integrity(self) -> None:
        """Raises AssertionError when a block, slot or request was lost. Waits for a step to end."""
        self._ask(self._check_tables)

    # What follows runs on the engine's thread.

    def _main(self) -> None:
        try:
            while not self._stopping:
                self._take_commands()
                if chunks := self._scheduler.schedule():
                    logits, routing = self._runner.run(chunks)
                    self._postprocess(chunks, logits, routing)
            self._end_all("cancelled", None)
        except BaseException as error:
            self._end_all("error", EngineStoppedError(f"the engine stopped: {type(error).__name__}"))
            raise

    def _take_commands(self) -> None:
        """Do what other threads asked for; wait for them only when there is nothing to run."""
        wait = not self._scheduler.has_work
        while not self._stopping:
            try:
                self._commands.get(block=wait)()
            except queue.Empty:
                return
            wait = False

    def _postprocess(self, chunks: list[Chunk], logits: Tensor, routing: Routing) -> None:
        for chunk in chunks:
            chunk.sequence.computed = chunk.stop
        self._count(chunks, routing)
        sequences = [chunk.sequence for chunk in chunks if chunk.samples]
        if self._observe:
            for sequence, row in zip(sequences, logits, strict=True):
                self._observe(sequence, row)
        options = [sequence.request.sampling for sequence in sequences]
        tokens = sample(logits, options, [sequence.num_generated for sequence in sequences]) if sequences else []
        for sequence, token in zip(sequences, tokens, strict=True):
            if sequence.slot not in routing.failed:
                self._append(sequence, token)
        for sequence in [chunk.sequence for chunk in chunks if chunk.sequence.slot in routing.failed]:
            assert sequence.adapter is not None
            error = routing.failed[sequence.slot]
            method = sequence.adapter.method.name
            self._finish(sequence, "error", PluginError(f"method {method!r}: {type(error).__name__}: {error}"))

    def _append(self, sequence: Sequence, token: int) -> None:
        sampling = sequence.request.sampling
        sequence.token_ids.append(token)
        reason: FinishReason | None = None
        if token in self._eos and not sampling.ignore_eos:
            reason = "stop"
        elif sequence.num_generated >= sampling.max_new_tokens:
            reason = "length"
        if reason:
            self._finish(sequence, reason, tokens=(token,))
        else:
            self._emit(sequence, Event((token,)))

    def _finish(
        self,
        sequence: Sequence,
        reason: FinishReason,
        error: AdapterHubError | None = None,
        tokens: tuple[int, ...] = (),
    ) -> None:
        self._scheduler.remove(sequence)
        del self._sequences[sequence.id]
        self._leave(sequence.adapter)
        self._emit(sequence, Event(tokens, reason, error))

    def _emit(self, sequence: Sequence, event: Event) -> None:
        try:
            sequence.on_event(event)
        except Exception:
            log.exception("request %d: its receiver raised; the request ends", sequence.id)
            self._cancel(sequence.id)

    def _add(self, sequence: Sequence) -> None:
        self._sequences[sequence.id] = sequence
        self._scheduler.add(sequence)

    def _cancel(self, request_id: int) -> None:
        if sequence := self._sequences.get(request_id):
            self._finish(sequence, "cancelled")

    def _end_all(self, reason: FinishReason, error: AdapterHubError | None) -> None:
        with self._door:
            self._shut = True
        while not self._commands.empty():
            self._commands.get()()
        for sequence in list(self._sequences.values()):
            self._finish(sequence, reason, error)

    def _count(self, chunks: list[Chunk], routing: Routing) -> None:
        old = self._stats
        prompt = sum(chunk.stop - chunk.start for chunk in chunks if not chunk.sequence.num_generated)
        self._stats = replace(
            old,
            steps=old.steps + 1,
            mixed_adapter_steps=old.mixed_adapter_steps + (routing.num_adapters > 1),
            mixed_method_steps=old.mixed_method_steps + (routing.num_methods > 1),
            prompt_tokens=old.prompt_tokens + prompt,
            generated_tokens=old.generated_tokens + sum(chunk.samples for chunk in chunks),
        )

    def _check_tables(self) -> None:
        self._cache.check_integrity()
        self._pool.check_integrity()
        held = {sequence.id for sequence in (*self._scheduler.running, *self._scheduler.waiting)}
        assert held == set(self._sequences), "a request was lost"
        if not held:
            assert self._cache.free == self._cache.capacity, "an idle engine holds KV blocks"

    # What follows runs on any thread.

    def _check_request(self, sequence: Sequence) -> None:
        ids = sequence.request.prompt_ids
        vocab = self.base.shape.vocab_size
        if not ids:
            raise InvalidInputError("prompt: empty; need at least one token", field="prompt")
        if any(not 0 <= token < vocab for token in ids):
            raise InvalidInputError(f"prompt: token ids must be from 0 to {vocab - 1}", field="prompt")
        if sequence.max_length > self.max_context:
            parts = f"{len(ids)} prompt + {sequence.request.sampling.max_new_tokens} new"
            parts += f" + {sequence.virtual_tokens} virtual" if sequence.virtual_tokens else ""
            raise InvalidInputError(
                f"max_new_tokens: {parts} tokens are {sequence.max_length}, over the context of {self.max_context}",
                field="max_new_tokens",
            )

    def _leave(self, adapter: ResidentAdapter | None) -> None:
        """Give back what a request holds from the moment it is submitted."""
        if adapter:
            self._pool.release(adapter)
        self._seats.release()

    def _send(self, command: Callable[[], object]) -> None:
        with self._door:
            if self._shut:
                raise EngineStoppedError("the engine is not running")
            self._commands.put(command)

    def _ask(self, work: Callable[[], object]) -> None:
        """Do `work` on the engine's thread between two steps, and wait for it."""
        done: Future[None] = Future()

        def command() -> None:
            try:
                work()
                done.set_result(None)
            except BaseException as error:  # noqa: BLE001  handed to the thread that asked
                done.set_exception(error)

        self._send(command)
        done.result()


class _Collector:
    """Gathers one request's events until its last."""

    def __init__(self) -> None:
        self._tokens: list[int] = []
        self._done: Future[Completion] = Future()

    def __call__(self, event: Event) -> None:
        self._tokens += event.token_ids
        if event.error:
            self._done.set_exception(event.error)
        elif event.finish_reason:
            self._done.set_result(Completion(tuple(self._tokens), event.finish_reason))

    def result(self) -> Completion:
        return self._done.result()


def _eos_ids(base: BaseModel) -> frozenset[int]:
    """The tokens that end a response: the generation config's, else the tokenizer's."""
    generation: Any = base.model.generation_config
    ids = generation.eos_token_id if generation is not None else None
    if ids is None:
        ids = base.tokenizer.eos_token_id
    if ids is None:
        return frozenset()
    return frozenset(ids) if isinstance(ids, list) else frozenset((ids,))
