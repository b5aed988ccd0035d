"""Which sequences run in the next step, and which of their positions."""

from __future__ import annotations

from collections import deque

from adapterhub.engine.kv_cache import KVCache
from adapterhub.engine.sequence import Chunk, Sequence


class Scheduler:
    """Owns the waiting and the running sequences.

    Decoding sequences take one row each; what is left of the step's token budget goes to prompts,
    in chunks, so that a long prompt never stalls the others for more than one step's budget.
    """

    def __init__(self, cache: KVCache, *, max_sequences: int, step_tokens: int) -> None:
        self._cache = cache
        self._max_sequences = max_sequences
        self._step_tokens = max(step_tokens, max_sequences)
        self.waiting: deque[Sequence] = deque()
        self.running: list[Sequence] = []

    @property
    def has_work(self) -> bool:
        return bool(self.waiting or self.running)

    def add(self, sequence: Sequence) -> None:
        self.waiting.append(sequence)

    def schedule(self) -> list[Chunk]:
        """The next step's chunks, sorted by adapter slot. Empty when there is nothing to run."""
        self._admit()
        decoding = [sequence for sequence in self.running if sequence.phase == "decode"]
        chunks = [Chunk(sequence, sequence.computed, sequence.length) for sequence in decoding]
        budget = self._step_tokens - len(chunks)
        for sequence in self.running:
            if sequence.phase == "prefill" and budget > 0:
                stop = min(sequence.length, sequence.computed + budget)
                chunks.append(Chunk(sequence, sequence.computed, stop))
                budget -= stop - sequence.computed
        return sorted(chunks, key=lambda chunk: chunk.sequence.slot)

    def remove(self, sequence: Sequence) -> None:
        """Forget a sequence and free its blocks."""
        if sequence in self.running:
            self.running.remove(sequence)
        else:
            self.waiting.remove(sequence)
        self._cache.release(sequence.id)

    def _admit(self) -> None:
        """Move waiting sequences in, first come first served, while there is room for all they may need."""
        while self.waiting and len(self.running) < self._max_sequences:
            sequence = self.waiting[0]
            if not self._cache.can_allocate(sequence.max_length):
                return
            sequence.places = self._cache.allocate(sequence.id, sequence.max_length)
            if sequence.adapter is not None and sequence.adapter.kv is not None:
                self._cache.write_all(sequence.places[: sequence.virtual_tokens], sequence.adapter.kv)
                sequence.computed = sequence.virtual_tokens
            self.running.append(self.waiting.popleft())
