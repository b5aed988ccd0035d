"""Persistent memory: every layer attends to slots of learned keys and values beside the prompt's.

Source: Sukhbaatar et al. 2019, "Augmenting Self-attention with Persistent Memory"
(arXiv:1907.01470). There the slots also take the feed-forward part's place; here the base is frozen
and they stand beside it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from pydantic import Field

from adapterhub import BaseShape, Method, MethodConfig, Param, Params, Site, hookimpl

if TYPE_CHECKING:
    from torch import Tensor

    from adapterhub.method import Register


class PersistentMemoryConfig(MethodConfig):
    """Options of persistent memory."""

    slots: int = Field(default=16, ge=1, le=4096)
    """Learned keys and values in front of every layer's cache."""


class PersistentMemory(Method[PersistentMemoryConfig]):
    """A slot takes a position, as a token does; no position is encoded in its keys."""

    name = "persistent_memory"
    peft_type = "PERSISTENT_MEMORY"
    Config = PersistentMemoryConfig

    def sites(self, config: PersistentMemoryConfig, shape: BaseShape) -> list[Site]:
        n = config.slots
        size = (shape.num_layers, shape.num_kv_heads, n, shape.head_dim)
        params = {
            "keys": Param(size, init="normal", std=shape.head_dim**-0.5),
            "values": Param(size, init="normal", std=n**-0.5),
        }
        return [Site("kv", params, virtual_tokens=n)]

    def kv(self, config: PersistentMemoryConfig, p: Params, shape: BaseShape) -> Tensor:
        import torch

        return torch.stack([p["keys"], p["values"]], dim=1)


@hookimpl
def register_methods(register: Register) -> None:
    register(PersistentMemory())
