"""The engine: one thread owns the model, the KV cache and the adapters' hooks.

Requests join and leave between steps, rows of any adapters and methods run together, and a request
keeps the adapter it started with. Other threads only send commands and receive events.
"""

from __future__ import annotations

import contextlib
import functools
import itertools
import threading
from collections.abc import Callable
from dataclasses import replace
from typing import Any

from adapterhub.base import BaseModel
from adapterhub.engine.adapter_pool import AdapterPool
from adapterhub.engine.bad_words import bad_word_ids
from adapterhub.engine.blend import Blend, Servable
from adapterhub.engine.blended import make_resident
from adapterhub.engine.block_pool import BlockPool
from adapterhub.engine.block_table import BLOCK_TOKENS
from adapterhub.engine.commands import Commands
from adapterhub.engine.detokenizer import Detokenizer
from adapterhub.engine.kv_cache import KVCache
from adapterhub.engine.limits import Limits
from adapterhub.engine.lookup import Lookup
from adapterhub.engine.loop import Loop, Observe
from adapterhub.engine.recorder import CudaRecorder, Recorder
from adapterhub.engine.request import Completion, Event, Request
from adapterhub.engine.resident_adapter import ResidentAdapter
from adapterhub.engine.rules import Rules
from adapterhub.engine.runner import Runner
from adapterhub.engine.scheduler import Scheduler
from adapterhub.engine.seats import Seats
from adapterhub.engine.sequence import Sequence
from adapterhub.engine.stats import AdapterStatus, EngineStats
from adapterhub.engine.stop_strings import StopStrings
from adapterhub.engine.supported import check_supported
from adapterhub.engine.tally import Tally
from adapterhub.engine.vocabulary import vocabulary_of
from adapterhub.engine.waiters import Arrival, Caller, Collector
from adapterhub.errors import AdapterHubError, EngineStoppedError, InvalidInputError
from adapterhub.plugins import Methods, Plans, installed_methods, understand
from adapterhub.structure import Structure, Structures
from adapterhub.structure.matcher import Matcher

IDLE_SECONDS = 1.0
"""Of idleness, after which every table is checked, once: nothing is delayed by it, and an engine that has
lost track of something stops and does not serve on."""


class Engine:
    """Generates for requests over one base, each with its own adapter or none.

    Of more than `max_requests`, waiting and running, `submit` refuses; at most `max_sequences` run in a step.
    `kv_tokens` is the room for keys and values, in positions; `step_tokens` bounds the rows of a
    step; `adapter_bytes` is the room for resident adapters, `host_adapter_bytes` for the tensors of
    those that may come back; what is not given is a share of the free memory (`limits`). `observe` is
    called on the engine's thread with every sampled row's logits, `[vocab]`, before its token is chosen.
    With `cuda_graphs`, decode steps are captured as CUDA graphs where their shapes come back; `recorder` captures
    them in place of CUDA.
    Raises UnsupportedBaseError with the reason when the base cannot be served exactly, and ConfigError
    when one of them needs more memory than is free, or steps over the base cannot be captured.
    """

    def __init__(
        self,
        base: BaseModel,
        *,
        max_requests: int = 1024,
        max_sequences: int = 32,
        kv_tokens: int | None = None,
        max_context: int | None = None,
        step_tokens: int = 256,
        adapter_bytes: int | None = None,
        host_adapter_bytes: int | None = None,
        methods: Methods | None = None,
        observe: Observe | None = None,
        cuda_graphs: bool = False,
        recorder: Recorder | None = None,
    ) -> None:
        if cuda_graphs:
            recorder = CudaRecorder.of(base)
        check_supported(base)
        self.base = base
        self._methods = chosen = methods or installed_methods()
        self.limits = Limits.of(
            base,
            max_requests=max_requests,
            max_sequences=max_sequences,
            step_tokens=step_tokens,
            kv_tokens=kv_tokens,
            max_context=max_context,
            adapter_bytes=adapter_bytes,
            host_adapter_bytes=host_adapter_bytes,
        )
        self.tally = Tally()
        """What ended, and how; for any thread."""
        pool = BlockPool(self.limits.kv_tokens // BLOCK_TOKENS)
        self._cache = cache = KVCache(
            base.shape,
            pool.num_blocks,
            dtype=base.compute_dtype,
            device=base.device,
            native=base.kernels is not None,
            spare=recorder is not None,
        )
        self._plans = plans = Plans(base.shape)
        self._pool = AdapterPool(
            lambda adapter, tensors: make_resident(adapter, tensors, chosen, base, plans),
            budget=self.limits.adapter_bytes,
            host_budget=self.limits.host_adapter_bytes,
            tally=self.tally,
            others=lambda: self._loop.giving_way_to,
        )
        self._runner = Runner(base, cache, recorder)
        scheduler = Scheduler(pool, cache, max_sequences=max_sequences, step_tokens=self.limits.step_tokens)
        self.methods = tuple(sorted(chosen.by_name))
        """Names of the methods whose adapters are served."""
        self._eos = _eos_ids(base)
        # several answers to one request have the same
        self._bad_word_ids = functools.lru_cache(16)(functools.partial(bad_word_ids, base.tokenizer))
        self._structures = Structures(lambda: vocabulary_of(base, self._eos))
        self._loop = Loop(
            self._runner,
            scheduler,
            pool,
            eos=self._eos,
            on_end=self._leave,
            observe=observe,
            tally=self.tally,
        )
        self._ids = itertools.count(1)
        self._seats = Seats(max_requests)
        self._commands = Commands()
        self._stopping = False
        self._thread = threading.Thread(target=self._main, name="adapterhub-engine", daemon=True)

    def start(self) -> None:
        """Take over the model and start the engine's thread. An engine is started once."""
        self._runner.open()
        self._commands.open()
        self._thread.start()

    def close(self) -> None:
        """End what runs as cancelled, stop the thread, give the model back and free what adapters and rows took."""
        with contextlib.suppress(EngineStoppedError):
            self._commands.send(self._stop)
        self._thread.join()
        self._structures.close()
        self._pool.close()
        self._runner.close()
        self._cache.close()

    def __enter__(self) -> Engine:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @property
    def alive(self) -> bool:
        """Whether the engine's thread runs."""
        return self._thread.is_alive()

    def register_adapter(self, adapter: Servable) -> None:
        """Make an adapter, or a blend of several, known; it is loaded when a request names its digest. Any thread.

        Of more than a few thousand blends, the ones registered longest ago are forgotten.
        """
        self._pool.register(adapter)

    def virtual_tokens(self, adapter: Servable) -> int:
        """Positions that an adapter puts in front of every prompt; its tensors are not read. A blend puts none.

        Raises IntegrityError when no method serves it.
        """
        if isinstance(adapter, Blend):
            return 0
        method, config = understand(adapter, self._methods)
        return self._plans.of(method, config).virtual_tokens

    def load_adapter(self, adapter: Servable) -> None:
        """Make an adapter, or a blend, known and resident; returns once it is. Blocks; any thread.

        It may be evicted later; a request that names it brings it back.
        Raises IntegrityError when it does not fit this base or cannot be served exactly,
        UnavailableError when it is larger than all adapters may be together, and again what a load
        raised a moment ago.
        """
        arrival = Arrival()
        self._pool.register(adapter)
        self._pool.acquire(adapter.digest, arrival)
        self._pool.release(arrival.result())

    def unload_adapter(self, digest: str) -> None:
        """Forget an adapter, and the blends it is in: they take no new request, and are freed when their last one ends.

        Raises AdapterNotFoundError when it is not known.
        """
        self._pool.remove(digest)

    def pin_adapter(self, digest: str) -> None:
        """Never evict an adapter, once it is resident. Raises AdapterNotFoundError when it is not known."""
        self._pool.pin(digest)

    def unpin_adapter(self, digest: str) -> None:
        """Undo one pin. Raises AdapterNotFoundError when the adapter is not known."""
        self._pool.unpin(digest)

    def adapter(self, digest: str) -> AdapterStatus | None:
        """One adapter; None when it is not known."""
        return self._pool.status(digest)

    def adapters(self) -> list[AdapterStatus]:
        """The known adapters."""
        return self._pool.statuses()

    def prepare_structures(self) -> None:
        """Build now what the first request with a structure would wait for. Blocks; any thread.

        Raises UnsupportedBaseError when the base can hold no text to one, and UnavailableError.
        """
        self._structures.prepare()

    def submit(self, request: Request, on_event: Callable[[Event], None]) -> int:
        """Queue a request from any thread; `on_event` is called on the engine's thread. Returns its id.

        A request whose adapter is known and not resident waits for it, and nobody else does; so does one
        for its structure, which is compiled in the background: what is wrong with it is in the last event.
        Raises InvalidInputError naming the field, AdapterNotFoundError, QueueFullError or
        EngineStoppedError, all before anything is queued.
        """
        return self._submit(request, on_event, wait=False)

    def cancel(self, request_id: int) -> None:
        """End a request; its cache is free before the next step. Any thread; an ended one is ignored."""
        with contextlib.suppress(EngineStoppedError):
            self._commands.send(lambda: self._loop.cancel(request_id))

    def generate(self, requests: list[Request]) -> list[Completion]:
        """Run a batch of any size and wait for all of it, in order; what finds no seat waits here.

        Raises the error of the first request that failed, and ends the others.
        """
        collectors = [Collector(Detokenizer(self.base.tokenizer, request.silent)) for request in requests]
        ids: list[int] = []
        try:
            for request, collector in zip(requests, collectors, strict=True):
                ids.append(self._submit(request, collector, wait=True))
            return [collector.result() for collector in collectors]
        except BaseException:
            for request_id in ids:
                self.cancel(request_id)
            raise

    def stats(self) -> EngineStats:
        """Counters and what is held now. Any thread."""
        return replace(self._loop.stats(), evictions=self._pool.evictions)

    def check_integrity(self) -> None:
        """Raises AssertionError when a block, slot or request was lost. Waits for a step to end."""
        self._commands.ask(self._loop.check_integrity)
        self._pool.check_integrity()

    def _submit(self, request: Request, on_event: Callable[[Event], None], *, wait: bool) -> int:
        """As `submit`; with `wait`, until there is a seat."""
        self._check(request)
        if request.adapter:
            self._pool.require(request.adapter)
        self._seats.take(wait=wait)
        sequence = Sequence(
            next(self._ids), request, on_event, self.base.runtime_digest, token_ids=list(request.prompt_ids)
        )
        sampling = request.sampling
        if sampling.cuts_text:
            sequence.stop = StopStrings(
                self.base.tokenizer,
                sampling.stop,
                sampling.stop_token_ids,
                sampling.min_tokens,
                silent=request.silent,
            )
        sequence.rules = Rules.of(request, self._bad_word_ids, self._eos)
        if sampling.lookup_tokens and not (sequence.rules or request.structure):  # which ask for each token in turn
            sequence.lookup = Lookup(sequence.token_ids, sampling.lookup_tokens)
        try:
            self._commands.send(lambda: self._loop.add(sequence))
        except EngineStoppedError:
            self._seats.give_back()
            raise
        if request.structure:
            self._hold(sequence, request.structure)
        elif request.adapter:
            self._bring(sequence)
        return sequence.id

    def _main(self) -> None:
        try:
            while not self._stopping:
                self._loop.step()
                if self._loop.has_work:
                    self._commands.do()
                elif not self._commands.do(wait=IDLE_SECONDS):
                    self._loop.check_integrity()
                    self._pool.check_integrity()
                    self._commands.do(wait=None)
            self._commands.shut()
            self._loop.end_all("cancelled")
        except BaseException as error:
            self._commands.shut()
            self._loop.end_all("error", EngineStoppedError(f"the engine stopped: {type(error).__name__}: {error}"))
            raise

    def _stop(self) -> None:
        self._stopping = True

    def _hold(self, sequence: Sequence, structure: Structure) -> None:
        """Have a sequence's structure compiled, then the sequence begun, or its adapter brought."""

        def send(command: Callable[[], object]) -> None:
            with contextlib.suppress(EngineStoppedError):  # which has ended the sequence
                self._commands.send(command)

        def hold(matcher: Matcher) -> None:
            if self._loop.hold_to(sequence, matcher) and sequence.request.adapter:
                self._bring(sequence)

        with contextlib.suppress(EngineStoppedError):
            self._structures.compile(
                structure,
                done=lambda matcher: send(lambda: hold(matcher)),
                failed=lambda error: send(lambda: self._loop.fail(sequence, error)),
            )

    def _bring(self, sequence: Sequence) -> None:
        """Have a sequence's adapter made resident, and the sequence begun then."""
        caller = Caller(
            self._commands,
            begin=lambda adapter: self._begin(sequence, adapter),
            fail=lambda error: self._loop.fail(sequence, error),
        )
        try:
            self._pool.acquire(sequence.request.adapter, caller)
        except AdapterHubError as error:
            caller.failed(error)

    def _begin(self, sequence: Sequence, adapter: ResidentAdapter) -> None:
        try:
            self._check_length(sequence.request, adapter.virtual_tokens)
            sequence.starts = adapter.first_row(sequence.request.prompt_ids)
        except AdapterHubError as error:
            self._pool.release(adapter)
            self._loop.fail(sequence, error)
            return
        if not self._loop.begin(sequence, adapter):
            self._pool.release(adapter)

    def _leave(self, sequence: Sequence) -> None:
        """Give back what a request held."""
        if sequence.adapter is not None:
            self._pool.release(sequence.adapter)
        self._seats.give_back()

    def _check(self, request: Request) -> None:
        ids = request.prompt_ids
        vocab = self.base.shape.vocab_size
        if not ids:
            raise InvalidInputError("prompt: empty; need at least one token", field="prompt")
        if any(not 0 <= token < vocab for token in ids):
            raise InvalidInputError(f"prompt: token ids must be from 0 to {vocab - 1}", field="prompt")
        for name in ("logit_bias", "stop_token_ids"):
            if wrong := [token for token in getattr(request.sampling, name) if token >= vocab]:
                raise InvalidInputError(
                    f"{name}: no token has id {wrong[0]}; need ids from 0 to {vocab - 1}", field=name
                )
        if request.structure and request.sampling.ignore_eos:
            raise InvalidInputError(
                "ignore_eos: not accepted beside a structure: the text ends where it is whole", field="ignore_eos"
            )
        self._check_length(request, virtual_tokens=0)

    def _check_length(self, request: Request, virtual_tokens: int) -> None:
        prompt, new = len(request.prompt_ids), request.sampling.max_new_tokens
        if (length := prompt + new + virtual_tokens) > self.limits.max_length:
            parts = f"{prompt} prompt + {new} new" + (f" + {virtual_tokens} virtual" if virtual_tokens else "")
            raise InvalidInputError(
                f"max_new_tokens: {parts} tokens are {length}, over {self.limits.bound}",
                field="max_new_tokens",
            )


def _eos_ids(base: BaseModel) -> frozenset[int]:
    """The tokens that end a response: the generation config's, else the tokenizer's."""
    generation: Any = base.model.generation_config
    ids = generation.eos_token_id if generation is not None else None
    if ids is None:
        ids = base.tokenizer.eos_token_id
    if ids is None:
        return frozenset()
    return frozenset(ids) if isinstance(ids, list) else frozenset((ids,))
