"""W7: what resident adapters take, and how long they take to load, to the thousandth."""

from __future__ import annotations

import time
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import median
from typing import Any

from adapterhub.adapter import read_folder
from adapterhub.base import BaseModel
from adapterhub.base.model import read_base
from adapterhub.engine import Engine
from benchmarks.adapter_folders import lora_folders
from benchmarks.work import Bench, Curve, Goal, Plot


@dataclass(frozen=True)
class W7:
    """One LoRA adapter's files under a thousand digests."""

    name: str = "w7"
    title: str = "W7: 1,000 resident LoRA adapters of rank 8 on all projections"
    adapters: int = 1000
    window: int = 50
    """Loads whose median is told."""

    def run(self, bench: Bench) -> dict[str, Any]:
        folder, shape = read_base(bench.base)
        (made,) = lora_folders(bench.cache, folder.path, shape, 1, 8, bench.adapter_dtype)
        adapter = read_folder(made)
        own = sum(tensor.nbytes for tensor in adapter.read_tensors().values())
        base = BaseModel.load(bench.base, quantization="int8")
        seconds = []
        with Engine(base, kv_tokens=64, adapter_bytes=int(1.2 * own * self.adapters), host_adapter_bytes=own) as engine:
            engine.load_adapter(replace(adapter, digest="sha256:warm"))
            before = resident_bytes()
            for index in range(self.adapters):
                started = time.perf_counter()
                engine.load_adapter(replace(adapter, digest=f"sha256:{index}"))
                seconds.append(time.perf_counter() - started)
            taken = resident_bytes() - before
            told = sum(status.nbytes for status in engine.adapters())
        return {"own_bytes": own, "taken_bytes": taken, "told_bytes": told, "seconds": seconds}

    def table(self, found: dict[str, Any]) -> list[str]:
        first, last = self.ends(found)
        own, each = found["own_bytes"], found["taken_bytes"] / len(found["seconds"])
        return [
            f"| | own MB | resident MB | ratio | first {self.window} loads, ms | last {self.window}, ms | ratio |",
            "| --- | ---: | ---: | ---: | ---: | ---: | ---: |",
            f"| each | {own / 1e6:.2f} | {each / 1e6:.2f} | {each / own:.3f} | {1000 * first:.1f} | "
            f"{1000 * last:.1f} | {last / first:.2f} |",
            "",
        ]

    def goals(self, found: dict[str, Any]) -> list[Goal]:
        first, last = self.ends(found)
        each = found["taken_bytes"] / len(found["seconds"])
        return [
            Goal("resident bytes over own bytes", each / found["own_bytes"], 1.05, at_most=True),
            Goal("the last loads' time over the first's", last / first, 1.2, at_most=True),
        ]

    def ends(self, found: dict[str, Any]) -> tuple[float, float]:
        """Median seconds of the first loads, and of the last."""
        seconds = found["seconds"]
        return median(seconds[: self.window]), median(seconds[-self.window :])

    def plot(self, found: dict[str, Any]) -> Plot | None:
        seconds, window = found["seconds"], self.window
        middles = [1000 * median(seconds[at : at + window]) for at in range(0, len(seconds), window)]
        starts = [float(at) for at in range(0, len(seconds), window)]
        return Plot("resident adapters", "ms to load one", [Curve("LoRA of rank 8", starts, middles)])


def resident_bytes() -> int:
    """What this process holds of the memory."""
    lines = (line.split() for line in Path("/proc/self/status").read_text().splitlines())
    return 1024 * int(next(words[1] for words in lines if words[0] == "VmRSS:"))
