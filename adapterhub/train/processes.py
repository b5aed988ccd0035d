"""The processes of one run, as `torchrun` and `accelerate launch` start them."""

from __future__ import annotations

import atexit
import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, Self, TypeVar

WAITS = 10.0
"""Seconds for which a process that failed waits for the first one to have failed too, and to say so."""

T = TypeVar("T")


@dataclass(frozen=True)
class Processes:
    """How many there are, and which one this is. The first one writes and prints; all of them compute. No torch yet."""

    count: int
    rank: int
    local_rank: int
    """Among those of this machine: the number of its device."""

    @classmethod
    def now(cls) -> Self:
        """As the environment says; one where nothing started several."""
        if "RANK" not in os.environ:
            return cls(1, 0, 0)
        count, rank, local = (os.environ.get(name) or "0" for name in ("WORLD_SIZE", "RANK", "LOCAL_RANK"))
        return cls(max(1, int(count)), int(rank), int(local))

    @property
    def first(self) -> bool:
        return self.rank == 0

    @property
    def sharding(self) -> bool:
        """Whether the weights are to lie in parts on all of them (FSDP), as `accelerate launch` says."""
        return self.count > 1 and os.environ.get("ACCELERATE_USE_FSDP", "").lower() == "true"

    def device(self) -> str | None:
        """The device of this process; None where it is alone and has the choice, or there are no devices to share."""
        import torch

        return f"cuda:{self.local_rank}" if self.count > 1 and torch.cuda.is_available() else None

    @contextmanager
    def joined(self) -> Iterator[None]:
        """Around all that they do together: they can talk to each other, and the error of one is told once.

        Where all fail alike, as for what the user gave, only the first one goes on with its error; the others wait
        to be ended with it. One that fails alone goes on with its own: whoever started them ends the others.
        """
        import torch
        import torch.distributed as dist

        if self.count == 1:
            yield
            return
        if not dist.is_initialized():
            if torch.cuda.is_available():
                torch.cuda.set_device(self.local_rank)
            dist.init_process_group("nccl" if torch.cuda.is_available() else "gloo")
            atexit.register(dist.destroy_process_group)  # they meet once: a second time, the old addresses are there
        store: Any = dist.distributed_c10d._get_default_store()
        try:
            yield
        except Exception:
            store.set(f"failed/{self.rank}", "1")
            if not self.first:
                self._wait_for_the_first(store)
            raise

    def _wait_for_the_first(self, store: Any) -> None:
        with suppress(Exception):  # it did not fail, or is gone
            store.wait(["failed/0"], timedelta(seconds=WAITS))
            time.sleep(WAITS)

    def from_first(self, make: Callable[[], T]) -> T:
        """What the first process makes, on all of them."""
        if self.count == 1:
            return make()
        import torch.distributed as dist

        box = [make() if self.first else None]
        dist.broadcast_object_list(box)
        assert box[0] is not None
        return box[0]
