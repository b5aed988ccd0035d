"""Who waits, and whose turn it is.

Every adapter of every tenant is a client with a counter of the rows it was served; the client with
the least goes first. A client that comes back from idleness starts at the least counter of those
that are there, so that it cannot save up turns. Source: Sheng et al. 2024, "Fairness in Serving Large
Language Models" (arXiv:2401.00588), the virtual token counter.
"""

from __future__ import annotations

from collections import Counter, defaultdict, deque
from collections.abc import Iterator

from adapterhub.engine.sequence import Client, Sequence


class FairQueue:
    """Owns the waiting sequences and the clients' counters."""

    def __init__(self) -> None:
        self._waiting: defaultdict[Client, deque[Sequence]] = defaultdict(deque)
        self._served: dict[Client, int] = {}
        self._present: Counter[Client] = Counter()

    def __len__(self) -> int:
        return sum(map(len, self._waiting.values()))

    def __iter__(self) -> Iterator[Sequence]:
        for waiting in self._waiting.values():
            yield from waiting

    @property
    def num_clients(self) -> int:
        """Clients with a sequence that waits or runs."""
        return len(self._present)

    def enter(self, sequence: Sequence) -> None:
        """A new sequence waits."""
        client = sequence.client
        if client not in self._present:
            least = min((self._served[other] for other in self._present), default=0)
            self._served[client] = max(self._served.get(client, 0), least)
        self._present[client] += 1
        self._waiting[client].append(sequence)

    def leave(self, sequence: Sequence) -> None:
        """A sequence, waiting or not, has ended."""
        client = sequence.client
        if sequence in self._waiting.get(client, ()):
            self._take(sequence)
        self._present[client] -= 1
        if not self._present[client]:
            del self._present[client]
            if not self._present:
                self._served.clear()

    def next(self) -> Sequence | None:
        """The sequence whose turn it is; it keeps waiting."""
        clients = [client for client, waiting in self._waiting.items() if waiting]
        if not clients:
            return None
        return min((self._waiting[client][0] for client in clients), key=self.turn)

    def start(self, sequence: Sequence) -> None:
        """A waiting sequence runs from now on."""
        self._take(sequence)

    def put_back(self, sequence: Sequence) -> None:
        """A sequence that ran waits again, before its client's others."""
        self._waiting[sequence.client].appendleft(sequence)

    def served(self, sequence: Sequence, rows: int) -> None:
        """Count rows that a sequence's client was given."""
        self._served[sequence.client] += rows

    def turn(self, sequence: Sequence) -> tuple[int, int]:
        """Smaller is sooner: by what the client was served, then by arrival."""
        return self._served[sequence.client], sequence.id

    def _take(self, sequence: Sequence) -> None:
        waiting = self._waiting[sequence.client]
        waiting.remove(sequence)
        if not waiting:
            del self._waiting[sequence.client]
