"""The parts of the bench, one in each file, each a `Work`."""

from benchmarks.work import Work
from benchmarks.works.w1 import W1
from benchmarks.works.w2 import W2
from benchmarks.works.w3 import W3
from benchmarks.works.w4 import W4
from benchmarks.works.w5 import W5
from benchmarks.works.w6 import W6
from benchmarks.works.w7 import W7


def works() -> list[Work]:
    """All of them, in order."""
    return [W1(), W2(), W3(), W4(), W5(), W6(), W7()]
