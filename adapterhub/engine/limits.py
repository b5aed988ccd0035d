"""How much an engine may hold: what was asked for, and for the rest a share of the memory that is free."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

import torch

from adapterhub.base import BaseModel
from adapterhub.engine.block_table import BLOCK_TOKENS
from adapterhub.errors import ConfigError

KV_SHARE = {"cpu": 1 / 4, "cuda": 3 / 4}
"""Of the device's free memory, once the base is loaded."""
ADAPTER_SHARE = 1 / 8
"""Of the device's free memory for resident adapters, and of the host's for those that may come back."""
CGROUP = Path("/sys/fs/cgroup")


@dataclass(frozen=True)
class Limits:
    """What one engine may hold."""

    max_requests: int
    """Waiting and running together."""
    max_sequences: int
    """Sequences in one step."""
    step_tokens: int
    """Rows in one step."""
    kv_tokens: int
    """Positions with room for keys and values, whole blocks."""
    kv_bytes: int
    context: int
    """Positions of one sequence, as the base has them or less."""
    adapter_bytes: int
    """Resident adapters."""
    host_adapter_bytes: int
    """Tensors of adapters that may come back."""

    @classmethod
    def of(
        cls,
        base: BaseModel,
        *,
        max_requests: int,
        max_sequences: int,
        step_tokens: int,
        kv_tokens: int | None = None,
        max_context: int | None = None,
        adapter_bytes: int | None = None,
        host_adapter_bytes: int | None = None,
    ) -> Limits:
        """None takes the default. Raises ConfigError for one that needs more memory than is free.

        By default no more `kv_tokens` than the step's sequences can use at their longest.
        """
        free, token = free_bytes(base.device), token_bytes(base)
        context = min(max_context or base.shape.max_positions, base.shape.max_positions)
        if kv_tokens is None:
            kv_tokens = min(int(free * KV_SHARE[base.device.type]) // token, max_sequences * context)
        blocks = max(1, kv_tokens // BLOCK_TOKENS)
        kv_bytes = blocks * BLOCK_TOKENS * token
        if kv_bytes > free:
            raise ConfigError(
                f"kv_tokens: {kv_tokens} need {kv_bytes} bytes, {free} are free; at most {free // token}",
                field="kv_tokens",
            )
        host_free = free_bytes(torch.device("cpu"))
        if adapter_bytes is None:
            adapter_bytes = int(free * ADAPTER_SHARE)
        if host_adapter_bytes is None:
            host_adapter_bytes = int(host_free * ADAPTER_SHARE)
        _check_free("adapter_bytes", adapter_bytes, free)
        _check_free("host_adapter_bytes", host_adapter_bytes, host_free)
        return cls(
            max_requests,
            max_sequences,
            max(step_tokens, max_sequences),
            blocks * BLOCK_TOKENS,
            kv_bytes,
            context,
            adapter_bytes,
            host_adapter_bytes,
        )

    @property
    def max_length(self) -> int:
        """Positions one sequence may have: virtual tokens, prompt and generated ones together."""
        return min(self.context, self.kv_tokens)

    @property
    def bound(self) -> str:
        """What `max_length` is, in words."""
        if self.context <= self.kv_tokens:
            return f"the context of {self.context}"
        return f"all KV blocks, which hold {self.kv_tokens}"


def _check_free(name: str, nbytes: int, free: int) -> None:
    if nbytes > free:
        raise ConfigError(f"{name}: {nbytes} bytes, {free} are free", field=name)


def token_bytes(base: BaseModel) -> int:
    """Bytes of one position's keys and values in all layers."""
    shape = base.shape
    return 2 * shape.num_layers * shape.num_kv_heads * shape.head_dim * base.compute_dtype.itemsize


def free_bytes(device: torch.device) -> int:
    """Memory of a device that can be taken now; the container's, where it allows less than the machine has."""
    if device.type == "cuda":
        free, _ = torch.cuda.mem_get_info(device)
        return int(free)
    try:
        free = _field(Path("/proc/meminfo"), "MemAvailable:") * 1024
    except OSError:  # not Linux; what others use is not known
        free = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") // 2
    try:
        limit, used = (int((CGROUP / name).read_text()) for name in ("memory.max", "memory.current"))
        return max(0, min(free, limit - used + _field(CGROUP / "memory.stat", "inactive_file")))
    except (OSError, ValueError):  # no cgroup v2, or no limit
        return free


def _field(file: Path, name: str) -> int:
    """The number behind a name, in a file of such lines."""
    lines = (line.split() for line in file.read_text().splitlines())
    return int(next(words[1] for words in lines if words[0] == name))
