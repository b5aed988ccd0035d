"""Which sequences run in the next step, and which of their positions."""

from __future__ import annotations

from collections import Counter

from adapterhub.engine.block_pool import BlockPool
from adapterhub.engine.block_table import BLOCK_TOKENS, BlockTable, blocks_for
from adapterhub.engine.fair_queue import FairQueue
from adapterhub.engine.kv_cache import KVCache
from adapterhub.engine.lookup import Lookup
from adapterhub.engine.sequence import Chunk, Client, Sequence


class Scheduler:
    """Owns who runs, and gives the running their blocks.

    Decoding sequences take one row each; what is left of the step's token budget goes to prompts, in
    chunks, so that a long prompt stalls nobody for more than one step's budget; rows that are still left go to
    guesses. When blocks run out, the
    youngest sequence gives its own back and is computed again later; the oldest always goes on.
    """

    def __init__(self, pool: BlockPool, cache: KVCache, *, max_sequences: int, step_tokens: int) -> None:
        self._pool = pool
        self._cache = cache
        self._max_sequences = max_sequences
        self._step_tokens = step_tokens
        self.queue = FairQueue()
        self.running: list[Sequence] = []
        self.preemptions = 0
        self.looked_up_tokens = 0
        """Positions of requests as they were first admitted."""
        self.reused_tokens = 0
        """Those of them that were found in the prefix cache."""

    @property
    def has_work(self) -> bool:
        return bool(self.running or len(self.queue))

    def add(self, sequence: Sequence) -> None:
        self.queue.enter(sequence)

    def schedule(self) -> list[Chunk]:
        """The next step's chunks, sorted by adapter slot. Empty when there is nothing to run."""
        self._admit()
        chunks: list[Chunk] = []
        budget = self._step_tokens
        prefilling = sorted((s for s in self.running if s.phase == "prefill"), key=self.queue.turn)
        for sequence in [s for s in self.running if s.phase == "decode"] + prefilling:
            stop = min(sequence.length, sequence.computed + budget)
            if stop > sequence.computed and self._make_room(sequence, stop):
                chunks.append(Chunk(sequence, sequence.computed, stop))
                budget -= stop - sequence.computed
        # An older sequence may have taken the blocks of one that already stood in the step.
        chunks = [chunk for chunk in chunks if chunk.sequence.table is not None]
        for index, chunk in enumerate(chunks):
            if chunk.sequence.lookup is not None and chunk.sequence.phase == "decode":
                chunks[index] = self._with_guesses(chunk, chunk.sequence.lookup, budget)
                budget -= len(chunk.sequence.guesses)
        return sorted(chunks, key=lambda chunk: chunk.sequence.slot)

    def computed(self, chunks: list[Chunk]) -> None:
        """Take note of what a step has computed."""
        for chunk in chunks:
            sequence = chunk.sequence
            sequence.computed = min(chunk.stop, sequence.length)
            self.queue.served(sequence, chunk.stop - chunk.start)
            self._remember(sequence, chunk.start // BLOCK_TOKENS)
            adapter = sequence.adapter
            if adapter is not None and adapter.kv is None and 0 < adapter.virtual_tokens <= chunk.stop:
                # a prompt site's rows are computed once; from now on they are copied
                adapter.kv = self._cache.read_all(chunk.places()[: adapter.virtual_tokens])

    def confirm(self, sequence: Sequence) -> None:
        """The first position behind what is computed holds a guess, and it was right."""
        sequence.computed += 1
        if not sequence.computed % BLOCK_TOKENS:
            self._remember(sequence, sequence.computed // BLOCK_TOKENS - 1)

    def remove(self, sequence: Sequence) -> None:
        """Forget a sequence and free its blocks."""
        self.queue.leave(sequence)
        if sequence.table is not None:
            self.running.remove(sequence)
            sequence.table.release()
            sequence.table = None

    def check_integrity(self) -> None:
        self._pool.check_integrity()
        assert self.running or self._pool.available == self._pool.num_blocks, "an idle engine holds KV blocks"
        assert all(sequence.table is not None for sequence in self.running), "a running sequence has no blocks"

    def _admit(self) -> None:
        """Let waiting sequences run, by turn, while there are seats and room for their prompts."""
        while (sequence := self.queue.next()) is not None:
            if len(self.running) >= self._max_sequences and not self._free_a_seat(sequence):
                return
            shared = self._shared(sequence)
            room = self._pool.available - self._pool.num_kept(shared)
            if blocks_for(sequence.length) - len(shared) > room:
                return
            self._start(sequence, shared)

    def _start(self, sequence: Sequence, shared: list[int]) -> None:
        table = BlockTable(self._pool, sequence.max_length, self._cache.keys[0].device)
        table.share(shared)
        sequence.table = table
        sequence.computed = table.capacity
        if not (sequence.preempted or sequence.num_untold):  # what it computed itself and finds again is no hit
            self.looked_up_tokens += sequence.length
            self.reused_tokens += table.capacity
        virtual = sequence.virtual_tokens
        if sequence.adapter is not None and sequence.adapter.kv is not None and sequence.computed < virtual:
            table.grow(virtual)
            rows = sequence.adapter.kv[:, :, :, sequence.computed :]
            self._cache.write_all(table.places(sequence.computed, virtual), rows)
            sequence.computed = virtual
            self._remember(sequence, len(shared))
        self.queue.start(sequence)
        self.running.append(sequence)

    def _shared(self, sequence: Sequence) -> list[int]:
        """Blocks that are there already; a sequence that is to tell of its prompt's rows computes them itself."""
        if sequence.num_untold:
            return []
        return self._pool.find(sequence.keys.extend(sequence.position_ids(sequence.length - 1)))

    def _with_guesses(self, chunk: Chunk, lookup: Lookup, budget: int) -> Chunk:
        """The chunk with what may come behind it: only in rows and blocks that nobody else needs in this step."""
        sequence = chunk.sequence
        most = min(budget, sequence.max_length - sequence.length - 1)
        guesses = lookup.guess(sequence.token_ids, most) if most > 0 else ()
        sequence.guesses = guesses if _table(sequence).grow(sequence.length + len(guesses)) else ()
        return chunk._replace(stop=chunk.stop + len(sequence.guesses))

    def _make_room(self, sequence: Sequence, tokens: int) -> bool:
        """Give a running sequence places up to `tokens`, if need be at the cost of the youngest."""
        while sequence.table is not None and not sequence.table.grow(tokens):
            self._preempt(max(self.running, key=lambda other: other.id))
        return sequence.table is not None

    def _free_a_seat(self, candidate: Sequence) -> bool:
        """A client that has no seat takes one from the client that has most, when that has more than its share."""
        seats: Counter[Client] = Counter(sequence.client for sequence in self.running)
        client, most = seats.most_common(1)[0]
        if seats[candidate.client] or most <= max(1, self._max_sequences // self.queue.num_clients):
            return False
        self._preempt(max((s for s in self.running if s.client == client), key=lambda other: other.id))
        return True

    def _preempt(self, sequence: Sequence) -> None:
        """Take a sequence's blocks; it waits, and is computed again from what the prefix cache still has."""
        assert sequence.table is not None
        self.running.remove(sequence)
        sequence.table.release()
        sequence.table = None
        sequence.computed = 0
        sequence.preempted = True
        self.queue.put_back(sequence)
        self.preemptions += 1

    def _remember(self, sequence: Sequence, first: int) -> None:
        """Offer the blocks that are full now, from block `first` on, to the prefix cache."""
        keys = sequence.keys.extend(sequence.position_ids(sequence.computed))
        _table(sequence).remember(first, keys[first:])


def _table(sequence: Sequence) -> BlockTable:
    assert sequence.table is not None, "only a running sequence has blocks"
    return sequence.table
