"""What a batch came to."""

from __future__ import annotations

from typing import NamedTuple


class BatchResult(NamedTuple):
    """Figures of one run of a batch."""

    lines: int
    """Requests of the input."""
    before: int
    """Lines that the output held already when this run began."""
    failed: int
    """Lines of the output that hold an error, those of earlier runs included."""
    adapters: int
    """Adapters that the requests name."""
    prompt_tokens: int
    """Of this run's answers."""
    generated_tokens: int
    """Of this run's answers."""
    seconds: float
    """From this run's first request to its last answer."""
    moved: tuple[str, ...] = ()
    """References that name something else by now; the batch went on with the digests that it began with."""

    @property
    def speed(self) -> float:
        """Generated tokens per second."""
        return self.generated_tokens / self.seconds if self.seconds else 0.0
