"""What the engine's thread does: schedule -> run -> sample -> events.

Everything here runs on that thread; nothing else touches these tables.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import replace

from torch import Tensor

from adapterhub.engine.block_pool import BlockPool
from adapterhub.engine.block_table import BLOCK_TOKENS
from adapterhub.engine.logprobs import logprobs
from adapterhub.engine.request import Event, FinishReason, Steps, TokenLogprobs
from adapterhub.engine.resident_adapter import ResidentAdapter
from adapterhub.engine.routing import Routing
from adapterhub.engine.runner import Runner
from adapterhub.engine.sampler import sample
from adapterhub.engine.scheduler import Scheduler
from adapterhub.engine.sequence import Chunk, Sequence
from adapterhub.engine.stats import EngineStats
from adapterhub.engine.tally import Tally
from adapterhub.errors import AdapterHubError, PluginError

log = logging.getLogger(__name__)

Observe = Callable[[Sequence, Tensor], None]


class Loop:
    """Owns the sequences from their arrival to their last event."""

    def __init__(
        self,
        runner: Runner,
        scheduler: Scheduler,
        pool: BlockPool,
        *,
        eos: frozenset[int],
        on_end: Callable[[Sequence], None],
        observe: Observe | None,
        tally: Tally,
    ) -> None:
        self._runner = runner
        self._scheduler = scheduler
        self._pool = pool
        self._eos = eos
        self._on_end = on_end
        self._observe = observe
        self._tally = tally
        self._sequences: dict[int, Sequence] = {}
        self._stats = EngineStats()

    @property
    def has_work(self) -> bool:
        return self._scheduler.has_work

    def add(self, sequence: Sequence) -> None:
        """A sequence has arrived; one that names an adapter waits for `begin`."""
        self._sequences[sequence.id] = sequence
        if not sequence.request.adapter:
            self._scheduler.add(sequence)

    def begin(self, sequence: Sequence, adapter: ResidentAdapter) -> bool:
        """A sequence's adapter is resident and held for it. False when the sequence has ended meanwhile."""
        if sequence.id not in self._sequences:
            return False
        self._runner.sites.attach(adapter.hooked)
        sequence.adapter = adapter
        self._scheduler.add(sequence)
        return True

    def fail(self, sequence: Sequence, error: AdapterHubError) -> None:
        """A sequence's adapter will not come."""
        if sequence.id in self._sequences:
            self._finish(sequence, Event((), "error", error))

    def cancel(self, sequence_id: int) -> None:
        """End a sequence before the next step; an unknown id is one that has ended."""
        if sequence := self._sequences.get(sequence_id):
            self._finish(sequence, Event((), "cancelled"))

    def end_all(self, reason: FinishReason, error: AdapterHubError | None = None) -> None:
        for sequence in list(self._sequences.values()):
            self._finish(sequence, Event((), reason, error))

    def step(self) -> None:
        """Compute one step, if there is anything to run, and tell of its tokens."""
        chunks = self._scheduler.schedule()
        if not chunks:
            return
        logits, routing = self._runner.run(chunks)
        self._count(chunks, routing)
        sampling = [chunk.sequence for chunk in chunks if chunk.samples]
        self._scheduler.computed([chunk for chunk in chunks if chunk.sequence.slot not in routing.failed])
        self._extend(sampling, logits, routing)
        for sequence in [chunk.sequence for chunk in chunks if chunk.sequence.slot in routing.failed]:
            self._blame(sequence, routing.failed[sequence.slot])

    def stats(self) -> EngineStats:
        """A consistent enough view for any thread: each figure is of one moment."""
        return replace(
            self._stats,
            running=len(self._scheduler.running),
            waiting=len(self._scheduler.queue),
            loading=sum(map(self._is_loading, list(self._sequences.values()))),
            preemptions=self._scheduler.preemptions,
            looked_up_tokens=self._scheduler.looked_up_tokens,
            reused_tokens=self._scheduler.reused_tokens,
            kv_tokens_free=self._pool.available * BLOCK_TOKENS,
            kv_tokens_total=self._pool.num_blocks * BLOCK_TOKENS,
        )

    def check_integrity(self) -> None:
        self._scheduler.check_integrity()
        held = {sequence.id for sequence in (*self._scheduler.running, *self._scheduler.queue)}
        held |= {sequence.id for sequence in self._sequences.values() if self._is_loading(sequence)}
        assert held == set(self._sequences), "a request was lost"

    def _extend(self, sequences: list[Sequence], logits: Tensor, routing: Routing) -> None:
        """Give each sampled row its next token."""
        if not sequences:
            return
        if self._observe:
            for sequence, row in zip(sequences, logits, strict=True):
                self._observe(sequence, row)
        options = [sequence.request.sampling for sequence in sequences]
        tokens = sample(logits, options, [sequence.num_generated for sequence in sequences])
        likelihoods = logprobs(logits, tokens, options)
        for sequence, token, likelihood in zip(sequences, tokens, likelihoods, strict=True):
            if sequence.slot not in routing.failed:
                self._append(sequence, token, () if likelihood is None else (likelihood,))

    def _append(self, sequence: Sequence, token: int, likelihood: tuple[TokenLogprobs, ...]) -> None:
        sequence.token_ids.append(token)
        text = sequence.stop.push(token) if sequence.stop else None
        reason = self._reason_to_end(sequence, token)
        if reason is None:
            self._emit(sequence, Event((token,), text=text, logprobs=likelihood))
            return
        if sequence.stop:
            text = f"{text}{sequence.stop.flush()}"
        steps = Steps(sequence.first_step, self._stats.steps, sequence.num_steps)
        self._finish(sequence, Event((token,), reason, text=text, logprobs=likelihood, steps=steps))

    def _reason_to_end(self, sequence: Sequence, token: int) -> FinishReason | None:
        sampling = sequence.request.sampling
        if (sequence.stop and sequence.stop.met) or (token in self._eos and not sampling.ignore_eos):
            return "stop"
        return "length" if sequence.num_generated >= sampling.max_new_tokens else None

    def _blame(self, sequence: Sequence, error: Exception) -> None:
        assert sequence.adapter is not None
        method = sequence.adapter.method.name
        self._tally.plugin_error(method)
        cause = PluginError(f"method {method!r}: {type(error).__name__}: {error}")
        self._finish(sequence, Event((), "error", cause))

    def _finish(self, sequence: Sequence, last: Event) -> None:
        if not self._is_loading(sequence):
            self._scheduler.remove(sequence)
        del self._sequences[sequence.id]
        self._on_end(sequence)
        self._emit(sequence, last)

    @staticmethod
    def _is_loading(sequence: Sequence) -> bool:
        return bool(sequence.request.adapter) and sequence.adapter is None

    def _emit(self, sequence: Sequence, event: Event) -> None:
        try:
            sequence.on_event(event)
        except Exception:
            log.exception("request %d: its receiver raised; the request ends", sequence.id)
            self.cancel(sequence.id)

    def _count(self, chunks: list[Chunk], routing: Routing) -> None:
        old = self._stats
        prefilled = sum(chunk.stop - chunk.start for chunk in chunks if chunk.sequence.phase == "prefill")
        self._stats = replace(
            old,
            steps=old.steps + 1,
            mixed_adapter_steps=old.mixed_adapter_steps + (routing.num_adapters > 1),
            mixed_method_steps=old.mixed_method_steps + (routing.num_methods > 1),
            prompt_tokens=old.prompt_tokens + prefilled,
            generated_tokens=old.generated_tokens + sum(chunk.samples for chunk in chunks),
        )
        for chunk in chunks:
            chunk.sequence.first_step = chunk.sequence.first_step or self._stats.steps
            chunk.sequence.num_steps += 1
