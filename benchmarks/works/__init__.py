"""The parts of the bench, one in each file, each a `Work`."""

from benchmarks.work import Work
from benchmarks.works.w1 import W1
from benchmarks.works.w4 import W4
from benchmarks.works.w6 import W6


def works() -> list[Work]:
    """All of them, in order."""
    return [W1(), W4(), W6()]
