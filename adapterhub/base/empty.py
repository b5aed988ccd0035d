"""A base without its weights: every module, every size, and no value."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any, Self

import torch

from adapterhub.base.model import compute_dtype, device_of, kernels_on, row_dtype
from adapterhub.base.quantize import NF4_BLOCK, Quantization, left_floating
from adapterhub.base.resolve import BaseFolder, resolve_base
from adapterhub.base.shape import read_empty
from adapterhub.base.weights_view import WeightsView

if TYPE_CHECKING:
    from torch import Tensor
    from transformers import PreTrainedModel

    from adapterhub.method import BaseShape
    from adapterhub.ops import AdapterKernels

SCALES_BLOCK = 256
"""Scales of nf4 blocks that share a scale themselves."""
NF4_TABLES = 16 * 4 + 256 * 4 + 4
"""Bytes of a layer's fp32 tables of 4-bit and 8-bit values, and of its scales' mean."""


@dataclass(frozen=True, eq=False)
class EmptyBase:
    """What `BaseModel` would be, from config.json alone. All its tensors are on the meta device."""

    folder: BaseFolder
    model: PreTrainedModel
    shape: BaseShape
    quantization: Quantization
    place: torch.device
    """Where it would be held."""
    compute_dtype: torch.dtype
    weights: WeightsView
    """Shapes and dtypes as `BaseModel.weights` gives them."""

    @classmethod
    def read(cls, ref: str, *, quantization: Quantization = "none", device: str | None = None) -> Self:
        """Read base `ref` as it would be held on `device`. Raises as `BaseModel.load`, but for what lies in weights."""
        place = device_of(device)
        folder = resolve_base(ref, weights=False)
        model, shape = read_empty(folder.path)
        return cls(folder, model, shape, quantization, place, compute_dtype(place), WeightsView(model))

    def held_as(self, quantization: Quantization, dtype: torch.dtype | None = None) -> Self:
        """The same base in another quantization, and computing in another dtype."""
        return replace(self, quantization=quantization, compute_dtype=dtype or self.compute_dtype)

    @property
    def row_dtype(self) -> torch.dtype:
        """As `BaseModel.row_dtype`."""
        return row_dtype(self.quantization, self.place)

    @property
    def adapter_kernels(self) -> AdapterKernels | None:
        """As `BaseModel.adapter_kernels`."""
        # where torch computes rows in fp32 too nothing depends on them, and nothing needs to be compiled to know it
        return kernels_on(self.place) if self.row_dtype != torch.float32 else None

    @cached_property
    def num_parameters(self) -> int:
        """All parameters, tied ones counted once."""
        return sum(parameter.numel() for parameter in self.model.parameters())

    @property
    def device(self) -> torch.device:
        """Where its tensors are."""
        return self.model.device

    @property
    def num_heads(self) -> int:
        """Heads of queries in a layer."""
        return int(self.model.config.get_text_config().num_attention_heads)

    @cached_property
    def ties_head(self) -> bool:
        """Whether the head's weight is the embedding table."""
        table: Any = self.model.get_input_embeddings()
        return self.model.get_parameter(f"{self.shape.lm_head}.weight") is table.weight

    @property
    def weight_bytes(self) -> int:
        """As `BaseModel.weight_bytes`, for `none` and `nf4`."""
        assert self.quantization != "int8", "counted for the bases that are trained on"
        packed = self._packed()
        itemsize = self.compute_dtype.itemsize
        floating = [parameter for name, parameter in self.model.named_parameters() if name not in packed]
        buffers = {buffer.untyped_storage()._cdata: buffer.nbytes for buffer in self.model.buffers()}
        return (
            sum(parameter.numel() for parameter in floating) * itemsize
            + sum(map(nf4_bytes, packed.values()))
            + sum(buffers.values())
        )

    def _packed(self) -> dict[str, Tensor]:
        """The weights that are held in 4 bits, by name."""
        if self.quantization != "nf4":
            return {}
        floating = left_floating(self.shape, self.place)
        names = [f"{name}.weight" for name in self.shape.linears if name not in floating]
        return {name: self.model.get_parameter(name) for name in names}


def nf4_bytes(weight: Tensor) -> int:
    """Bytes of a weight in nf4 with double quantization.

    Two values a byte; a scale in 8 bits for 64 values, an fp32 scale for 256 of these; the tables
    (Dettmers et al. 2023, arXiv:2305.14314, section 3; as bitsandbytes lays it out).
    """
    blocks = -(-weight.numel() // NF4_BLOCK)
    return -(-weight.numel() // 2) + blocks + 4 * -(-blocks // SCALES_BLOCK) + NF4_TABLES
