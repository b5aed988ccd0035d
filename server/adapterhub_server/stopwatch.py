"""Where the time of one generation goes."""

from __future__ import annotations

import time

from google.protobuf.duration_pb2 import Duration

from adapterhub.engine import Steps
from adapterhub.pb.v1 import inference_pb2


class Stopwatch:
    """Started when a request arrives. Times are on the monotonic clock, in seconds."""

    def __init__(self) -> None:
        self.arrived = time.monotonic()
        self.given: float | None = None
        """When the engine got it."""
        self.first: float | None = None
        """When its first token came."""
        self.last: float | None = None
        """When its last piece came."""
        self._last_of: dict[int, float] = {}
        """The same of each of its answers."""
        self.steps: Steps | None = None
        """The engine's that computed it; of several answers, from the first one's to the last one's."""

    def admitted(self) -> None:
        """The engine gets it now."""
        self.given = time.monotonic()

    def piece(self, tokens: int, choice: int = 0) -> float | None:
        """A piece of an answer with so many tokens has come; seconds since the one before it, None for the first."""
        before = self._last_of.get(choice)
        self.last = self._last_of[choice] = time.monotonic()
        if tokens and self.first is None:
            self.first = self.last
        return None if before is None else self.last - before

    def ran(self, steps: Steps | None) -> None:
        """A generation, of one or several, has ended, which these steps computed."""
        if steps is None or self.steps is None:
            self.steps = self.steps or steps
        else:
            self.steps = Steps(
                min(self.steps.first, steps.first),
                max(self.steps.last, steps.last),
                max(self.steps.taken, steps.taken),
            )

    def join(self, other: Stopwatch) -> None:
        """Of two generations of one call, what was first and what was last."""
        self.given = min((each for each in (self.given, other.given) if each is not None), default=None)
        self.first = min((each for each in (self.first, other.first) if each is not None), default=None)
        self.last = max((each for each in (self.last, other.last) if each is not None), default=None)
        self.ran(other.steps)

    def so_far(self) -> dict[str, float]:
        """`before_engine`, `first_token` and `total`, as Timings defines them, as far as the request came."""
        times = {}
        if self.given is not None:
            times["before_engine"] = self.given - self.arrived
            if self.first is not None:
                times["first_token"] = self.first - self.given
        times["total"] = time.monotonic() - self.arrived
        return times

    def message(self) -> inference_pb2.Timings:
        """The times of a generation that has ended, which gave at least one token."""
        times = {name: _duration(seconds) for name, seconds in self.so_far().items()}
        first, last, taken = self.steps or (0, 0, 0)
        return inference_pb2.Timings(**times, first_step=first, last_step=last, steps=taken)


def _duration(seconds: float) -> Duration:
    duration = Duration()
    duration.FromNanoseconds(round(seconds * 1e9))
    return duration
