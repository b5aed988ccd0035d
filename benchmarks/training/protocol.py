"""What the two drivers of a training run are told, and what they tell. Runs on the standard library alone.

    python -m benchmarks.training.<driver> SPEC RESULT

reads the file SPEC, trains, and writes the file RESULT; both are JSON.
"""

from __future__ import annotations

import json
import resource
import sys
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any, NamedTuple, Self

LIBRARIES = ("peft", "torch", "transformers", "trl", "bitsandbytes")


@dataclass(frozen=True)
class Spec:
    """One run. What is not here is off in both, or has the same default in both."""

    model: str
    """Folder of the base."""
    data: str
    """JSONL of {"prompt", "completion"}, raw text, in the order that this driver is to read it in."""
    nf4: bool
    """The base in NF4 with double quantization, else in float32. The adapter learns in float32 over either."""
    recompute: bool
    """Whether layers compute their activations again in the backward pass."""
    steps: int
    """Of the optimizer; the data has enough rows for all of them."""
    batch_size: int = 4
    rank: int = 8
    alpha: int = 16
    learning_rate: float = 1e-3
    schedule: str = "linear"
    warmup: float = 0.1
    """Share of the steps."""
    max_grad_norm: float = 1.0
    weight_decay: float = 0.0
    seed: int = 0


class Step(NamedTuple):
    """The clocks when a step was over, and what it learned from."""

    wall: float
    cpu: float
    """Seconds of all threads of the process."""
    tokens: int
    """Of its rows, without pads."""
    loss: float


@dataclass(frozen=True)
class Trained:
    """What a driver tells."""

    steps: list[Step]
    peak_bytes: int
    """Most that the process ever held: loading, training and saving."""
    versions: dict[str, str]

    @classmethod
    def read(cls, path: Path) -> Self:
        found = json.loads(path.read_text())
        return cls([Step(*step) for step in found["steps"]], found["peak_bytes"], found["versions"])

    @property
    def tokens(self) -> list[int]:
        return [step.tokens for step in self.steps]

    @property
    def losses(self) -> list[float]:
        return [step.loss for step in self.steps]

    @property
    def rate(self) -> float:
        """Tokens a second from the end of the first step to the end of the last, all between steps included."""
        return sum(self.tokens[1:]) / (self.steps[-1].wall - self.steps[0].wall)

    @property
    def cpu_rate(self) -> float:
        """The same for a second of processor time."""
        return sum(self.tokens[1:]) / (self.steps[-1].cpu - self.steps[0].cpu)


def now(tokens: int, loss: float) -> Step:
    """A step that is over now."""
    return Step(time.perf_counter(), time.process_time(), tokens, loss)


def drive(train: Callable[[Spec, Path], list[Step]]) -> None:
    """Do the job of the command line. `train` saves its adapter in the folder it is given, which is not there yet."""
    spec_file, result_file = map(Path, sys.argv[1:])
    steps = train(Spec(**json.loads(spec_file.read_text())), result_file.with_suffix(".adapter"))
    trained = Trained(steps, _peak_bytes(), {name: version(name) for name in LIBRARIES})
    result_file.write_text(json.dumps(asdict(trained)))


def write_rows(path: Path, rows: list[dict[str, Any]]) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def _peak_bytes() -> int:
    """Resident bytes. Not from `getrusage` where it can be helped: that keeps the peak of who started the process."""
    status = Path("/proc/self/status")
    if status.is_file():
        for line in status.read_text().splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) * 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)
