"""Where the time of one generation goes."""

from __future__ import annotations

import time

from google.protobuf.duration_pb2 import Duration

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

    def admitted(self) -> None:
        """The engine gets it now."""
        self.given = time.monotonic()

    def piece(self, tokens: int) -> None:
        """A piece with so many tokens has come."""
        self.last = time.monotonic()
        if tokens and self.first is None:
            self.first = self.last

    def message(self) -> inference_pb2.Timings:
        """The times so far, of a generation that has ended."""
        assert self.given is not None
        assert self.last is not None
        first = self.first if self.first is not None else self.last
        return inference_pb2.Timings(
            before_engine=_duration(self.given - self.arrived),
            first_token=_duration(first - self.given),
            total=_duration(self.last - self.arrived),
        )


def _duration(seconds: float) -> Duration:
    duration = Duration()
    duration.FromNanoseconds(round(seconds * 1e9))
    return duration
