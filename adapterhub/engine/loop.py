"""What the engine's thread does: schedule -> run -> sample -> events.

Everything here runs on that thread; nothing else touches these tables.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from dataclasses import replace

from torch import Tensor

from adapterhub.engine.block_pool import BlockPool
from adapterhub.engine.block_table import BLOCK_TOKENS
from adapterhub.engine.logprobs import logprobs, prompt_logprobs
from adapterhub.engine.masks import allowed_tokens
from adapterhub.engine.request import Event, FinishReason, Steps, TokenLogprobs
from adapterhub.engine.resident_adapter import ResidentAdapter
from adapterhub.engine.routing import Routing
from adapterhub.engine.runner import Runner
from adapterhub.engine.sampler import sample
from adapterhub.engine.scheduler import Scheduler
from adapterhub.engine.sequence import Chunk, Sequence
from adapterhub.engine.stats import EngineStats
from adapterhub.engine.tally import Tally
from adapterhub.errors import AdapterHubError, InvalidInputError, PluginError
from adapterhub.structure.matcher import Matcher

log = logging.getLogger(__name__)

Observe = Callable[[Sequence, Tensor], None]
WAITING = 3
"""What one that waits for its adapter counts in how far loads give way, where one that runs counts 1."""


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
        self._generated = 0
        self.step_seconds = 0.0
        """How long the last step took to compute."""

    @property
    def has_work(self) -> bool:
        return self._scheduler.has_work

    @property
    def giving_way_to(self) -> float:
        """Seconds of a step that loads give way to, by the share of requests that run; any thread.

        Loads that gave way for as long where most wait for their adapters would leave few to run. One that waits gets
        nothing, one that runs is slowed down: it counts `WAITING` times as much.
        """
        running = len(self._scheduler.running) + len(self._scheduler.queue)
        return self.step_seconds * running / max(1, running + WAITING * self._num_waiting)

    @property
    def _num_waiting(self) -> int:
        """Requests that wait for their adapter or structure."""
        return sum(sequence.waits for sequence in list(self._sequences.values()))

    def add(self, sequence: Sequence) -> None:
        """A sequence has arrived; one with a structure waits for `hold_to`, one that names an adapter for `begin`."""
        self._sequences[sequence.id] = sequence
        if not sequence.waits:
            self._scheduler.add(sequence)

    def hold_to(self, sequence: Sequence, matcher: Matcher) -> bool:
        """A sequence's structure is compiled. False when the sequence has ended meanwhile."""
        if sequence.id not in self._sequences:
            return False
        sequence.matcher = matcher
        if not sequence.waits:
            self._scheduler.add(sequence)
        return True

    def begin(self, sequence: Sequence, adapter: ResidentAdapter) -> bool:
        """A sequence's adapter is resident and held for it. False when the sequence has ended meanwhile."""
        if sequence.id not in self._sequences:
            return False
        self._runner.sites.attach(adapter.hooked)
        sequence.adapter = adapter
        self._scheduler.add(sequence)
        return True

    def fail(self, sequence: Sequence, error: AdapterHubError) -> None:
        """A sequence's adapter, or its structure, will not come."""
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
        began = time.perf_counter()
        logits, routing = self._runner.run(chunks)
        self.step_seconds = time.perf_counter() - began
        self._count(chunks, routing)
        logits = self._tell_of_prompts(chunks, logits, routing)
        sampling = [chunk.sequence for chunk in chunks for _ in range(chunk.num_sampled)]
        self._scheduler.computed([chunk for chunk in chunks if chunk.sequence.slot not in routing.failed])
        self._extend(sampling, logits, routing)
        for sequence in [chunk.sequence for chunk in chunks if chunk.sequence.slot in routing.failed]:
            self._blame(sequence, routing.failed[sequence.slot])

    def stats(self) -> EngineStats:
        """A consistent enough view for any thread: each figure is of one moment."""
        return replace(
            self._stats,
            generated_tokens=self._generated,
            running=len(self._scheduler.running),
            waiting=len(self._scheduler.queue),
            loading=self._num_waiting,
            preemptions=self._scheduler.preemptions,
            looked_up_tokens=self._scheduler.looked_up_tokens,
            reused_tokens=self._scheduler.reused_tokens,
            kv_tokens_free=self._pool.available * BLOCK_TOKENS,
            kv_tokens_total=self._pool.num_blocks * BLOCK_TOKENS,
        )

    def check_integrity(self) -> None:
        self._scheduler.check_integrity()
        held = {sequence.id for sequence in (*self._scheduler.running, *self._scheduler.queue)}
        held |= {sequence.id for sequence in self._sequences.values() if sequence.waits}
        assert held == set(self._sequences), "a request was lost"

    def _tell_of_prompts(self, chunks: list[Chunk], logits: Tensor, routing: Routing) -> Tensor:
        """Keep what is asked of prompts' tokens. Returns the logits of the rows that sample."""
        if len(logits) == sum(chunk.num_sampled for chunk in chunks):
            return logits
        sampled: list[int] = []
        row = 0
        for chunk in chunks:
            told, heads = chunk.num_told, chunk.num_heads  # before what is kept changes them
            if told and chunk.sequence.slot not in routing.failed:
                chunk.sequence.prompt_logprobs += prompt_logprobs(logits[row : row + told], chunk)
            sampled += range(row + told, row + heads)
            row += heads
        return logits[sampled]

    def _extend(self, sequences: list[Sequence], logits: Tensor, routing: Routing) -> None:
        """Give each sampled row's sequence its next token. Rows of one sequence are of its guesses, in order."""
        if not sequences:
            return
        options = [sequence.request.sampling for sequence in sequences]
        allowed = allowed_tokens([sequence.matcher for sequence in sequences], logits.shape[1])
        rules = [sequence.rules for sequence in sequences]
        tokens = sample(logits, options, _token_indices(sequences), rules, allowed)
        likelihoods = logprobs(logits, tokens, options)
        wrong: set[int] = set()
        """Sequences whose other rows followed a guess that was wrong."""
        for row, (sequence, token, likelihood) in enumerate(zip(sequences, tokens, likelihoods, strict=True)):
            if sequence.slot in routing.failed or sequence.id in wrong:
                continue
            if self._observe:
                self._observe(sequence, logits[row])
            self._append(sequence, token, () if likelihood is None else (likelihood,))
            if sequence.guesses and not self._confirm(sequence, token):
                wrong.add(sequence.id)

    def _confirm(self, sequence: Sequence, token: int) -> bool:
        """Whether a sequence goes on after `token` as it was guessed to."""
        goes_on = token == sequence.guesses[0] and sequence.id in self._sequences
        if goes_on:
            self._scheduler.confirm(sequence)
        sequence.guesses = sequence.guesses[1:] if goes_on else ()
        return goes_on

    def _append(self, sequence: Sequence, token: int, likelihood: tuple[TokenLogprobs, ...]) -> None:
        try:
            is_whole = sequence.matcher is not None and sequence.matcher.push(token)
        except InvalidInputError as error:
            self._finish(sequence, Event((), "error", error))
            return
        sequence.token_ids.append(token)
        self._generated += 1
        if sequence.rules:
            sequence.rules.push(token)
        prompt: tuple[TokenLogprobs, ...] = ()
        if sequence.prompt_logprobs:
            prompt, sequence.prompt_logprobs = tuple(sequence.prompt_logprobs), []
        text = sequence.stop.push(token) if sequence.stop else None
        reason = "stop" if is_whole else self._reason_to_end(sequence, token)
        if reason is None:
            self._emit(sequence, Event((token,), text=text, logprobs=likelihood, prompt_logprobs=prompt))
            return
        if sequence.stop:
            text = f"{text}{sequence.stop.flush()}"
        steps = Steps(sequence.first_step, self._stats.steps, sequence.num_steps)
        last = Event((token,), reason, text=text, logprobs=likelihood, prompt_logprobs=prompt, steps=steps)
        self._finish(sequence, last)

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
        if not sequence.waits:
            self._scheduler.remove(sequence)
        del self._sequences[sequence.id]
        self._on_end(sequence)
        self._emit(sequence, last)

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
        )
        for chunk in chunks:
            chunk.sequence.first_step = chunk.sequence.first_step or self._stats.steps
            chunk.sequence.num_steps += 1


def _token_indices(sequences: list[Sequence]) -> list[int]:
    """How many tokens each row's sequence has generated before it, guesses included."""
    indices: list[int] = []
    for row, sequence in enumerate(sequences):
        follows = row > 0 and sequences[row - 1] is sequence
        indices.append(indices[-1] + 1 if follows else sequence.num_generated)
    return indices
