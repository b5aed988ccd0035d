"""What records a step's work on the device, to be done again without Python."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol, Self

import torch
from torch import Tensor

from adapterhub.base import BaseModel
from adapterhub.errors import ConfigError

CAPTURED = ("none", "nf4")
"""Quantizations whose products never wait for the device. LLM.int8 does: it looks for outliers in every layer."""
WARM_UPS = 2
"""Runs before a capture, in which libraries take their workspaces and kernels are compiled."""


class Recorder(Protocol):
    """Records a function of tensors that stay where they are."""

    def record(self, run: Callable[[], Tensor]) -> Callable[[], Tensor]:
        """What does the same again with what the tensors hold then. Its result is overwritten by the next time.

        `run` is called several times. Raises whatever it raises, and what a device cannot record.
        """


class CudaRecorder:
    """Records CUDA graphs, all in one pool of memory: they run one after the other, and keep but their results.

    Source: https://docs.pytorch.org/docs/stable/notes/cuda.html#cuda-graphs
    """

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self._stream = torch.cuda.Stream(device)  # type: ignore[no-untyped-call]
        self._pool = torch.cuda.graph_pool_handle()

    @classmethod
    def of(cls, base: BaseModel) -> Self:
        """For a base's steps. Raises ConfigError where they cannot be captured."""
        if base.device.type != "cuda":
            raise ConfigError(
                f"cuda_graphs: the base is on {base.device}; graphs are of a CUDA device", field="cuda_graphs"
            )
        if base.quantization not in CAPTURED:
            raise ConfigError(
                f"cuda_graphs: a base held as {base.quantization} waits for the device in every layer "
                f"(accepted: {', '.join(CAPTURED)})",
                field="cuda_graphs",
            )
        return cls(base.device)

    def record(self, run: Callable[[], Tensor]) -> Callable[[], Tensor]:
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.device(self._device):
            here = torch.cuda.current_stream()
            self._stream.wait_stream(here)
            # a capture that fails does not give the stream back by itself
            with torch.cuda.stream(self._stream):
                for _ in range(WARM_UPS):
                    run()
                # other threads load adapters meanwhile, and may ask for memory
                with torch.cuda.graph(graph, pool=self._pool, stream=self._stream, capture_error_mode="thread_local"):
                    result = run()
            here.wait_stream(self._stream)

        def replay() -> Tensor:
            with torch.cuda.device(self._device):
                graph.replay()
            return result

        return replay
