"""What may be known of a base model before a weight is read: the names and sizes of its modules."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Literal

ModuleKind = Literal["linear", "conv1d", "embedding", "layer", "attention", "mlp", "norm"]


@dataclass(frozen=True)
class ModuleShape:
    """One module of the base that a site may name, by its feature widths."""

    kind: ModuleKind
    in_features: int
    out_features: int
    bias: bool = False
    """It adds a bias to its output."""


@dataclass(frozen=True)
class BaseShape:
    """What a plan may know of a base model: names and sizes, never weights."""

    architecture: str
    """The transformers class, such as `LlamaForCausalLM`."""
    hidden_size: int
    num_layers: int
    num_kv_heads: int
    head_dim: int
    vocab_size: int
    max_positions: int
    modules: Mapping[str, ModuleShape]
    """Every module a site may name, by its name in the unwrapped model."""
    layers: tuple[str, ...]
    """The decoder layers, in order."""
    attention_outputs: tuple[str, ...]
    """Per layer, the module whose output is added to the residual after attention; these three are
    empty where layers are built in a way we do not know."""
    mlp_outputs: tuple[str, ...]
    """Per layer, the module whose output is added to the residual after the feed-forward part."""
    mlp_inputs: tuple[str, ...]
    """Per layer, the module that takes the residual in front of the feed-forward part: its norm, if there is one."""
    lm_head: str
    embedding: str = ""
    """The table that tokens go into."""
    tied: bool = False
    """The head's weight is that table."""

    @cached_property
    def linears(self) -> tuple[str, ...]:
        """Every linear module inside the decoder layers, in model order."""
        return tuple(
            name
            for name, module in self.modules.items()
            if module.kind in ("linear", "conv1d") and name != self.lm_head
        )
