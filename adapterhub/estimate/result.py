"""What an adapter costs. All sizes are in bytes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True)
class Training:
    """The memory of training one way, on one base held one way."""

    name: str
    """The method or preset that is trained, or `full`: every weight of the base."""
    quantization: str
    """How the base is held: none or nf4."""
    trainable_parameters: int
    weight_bytes: int
    """The base's weights as held. Exact."""
    adapter_bytes: int
    """The trained tensors beside the base, in fp32. Exact."""
    gradient_bytes: int
    """One fp32 value for each trained parameter. Exact."""
    optimizer_bytes: int
    """AdamW's two states for each trained parameter. Exact."""
    activation_bytes: int
    """What all layers keep for the backward pass. A model."""
    checkpointed_activation_bytes: int
    """The same with gradient checkpoints: each layer's input, and all of one layer."""
    logit_bytes: int
    """The logits and what the loss makes of them. A model."""
    peak_bytes: int
    """The most that is held at a time. An estimate."""
    checkpointed_peak_bytes: int
    """The same with gradient checkpoints."""


@dataclass(frozen=True)
class Resident:
    """What one adapter takes in the engine, on a base held one way. Exact."""

    bytes: int
    """All its tensors, derived ones and the keys and values of its virtual tokens included."""
    per_gib: int
    """How many of them fit in a GiB."""


@dataclass(frozen=True)
class Estimate:
    """The price of one adapter on one base, before any weight is read."""

    base: str
    revision: str
    """Commit on the Hub, when the base came from there."""
    base_parameters: int
    """Tied ones counted once."""
    method: str
    """The method or preset that was asked for."""
    device: str
    """Where it would be trained and served."""
    batch_size: int
    max_length: int
    trainable_parameters: int
    trainable_share: float
    """Of the base's parameters."""
    adapter_parameters: int
    """Parameters in the adapter's file; some methods train more than they keep."""
    adapter_bytes: int
    """Bytes of the tensors in the adapter's file. Exact."""
    training: tuple[Training, ...]
    """Full fine-tuning, the method on the floating base, and on the nf4 one."""
    resident: Mapping[str, Resident]
    """By the quantization of the base that serves."""
