"""How the frozen base is held in memory: floating, int8 or nf4.

    none   every device   weights in the compute dtype
    int8   CPU            `Int8Linear`, ours; serving only
    int8   CUDA           bitsandbytes LLM.int8
    nf4    every device   bitsandbytes 4-bit with double quantization; serving and training

Embeddings stay floating in all of them. int8 on the CPU quantizes lm_head too, the widest matmul of a step.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from torch import nn
from transformers import BitsAndBytesConfig
from transformers.pytorch_utils import Conv1D

from adapterhub.base.int8 import Int8Linear
from adapterhub.ops import packed

if TYPE_CHECKING:
    import torch

    from adapterhub.method import BaseShape
    from adapterhub.ops import Kernels

Quantization = Literal["none", "int8", "nf4"]

PIECE = 64 << 20
"""Bytes of weights that are moved into large pages at a time."""

NF4_BLOCK = 64
"""Weights that share a scale in nf4."""


def bitsandbytes_config(
    quantization: Quantization, shape: BaseShape, device: torch.device, compute_dtype: torch.dtype
) -> BitsAndBytesConfig | None:
    """What `from_pretrained` needs to quantize while loading; None where it loads floating weights."""
    if quantization == "nf4":
        return BitsAndBytesConfig(  # type: ignore[no-untyped-call]
            load_in_4bit=True,
            bnb_4bit_quant_type="nf4",
            bnb_4bit_use_double_quant=True,
            bnb_4bit_compute_dtype=compute_dtype,
            llm_int8_skip_modules=left_floating(shape, device),
        )
    if quantization == "int8" and device.type != "cpu":
        return BitsAndBytesConfig(load_in_8bit=True, llm_int8_skip_modules=[shape.lm_head])  # type: ignore[no-untyped-call]
    return None


def left_floating(shape: BaseShape, device: torch.device) -> list[str]:
    """The linear layers that nf4 leaves floating: the head, and on the CPU those whose rows are not whole blocks.

    bitsandbytes quantizes blocks of 64 across row ends, but its CPU kernel starts a block at every
    row when it dequantizes: such a layer would compute with other scales than it was quantized with.
    """
    ragged = [name for name in shape.linears if shape.modules[name].in_features % NF4_BLOCK]
    return [shape.lm_head, *(ragged if device.type == "cpu" else [])]


def quantize_int8(model: nn.Module, kernels: Kernels | None = None) -> None:
    """Replace every linear layer of `model`, in place, one by one so that little is held twice.

    They compute by `kernels`, or by torch.

    A head tied to the embedding table gets its own int8 copy; the table stays as it is.
    """
    for name, module in list(model.named_modules()):
        if type(module) is nn.Linear:
            model.set_submodule(name, Int8Linear.from_linear(module, kernels))
        elif type(module) is Conv1D:
            model.set_submodule(name, Int8Linear.from_conv1d(module, kernels))
    _move_to_pages([module for module in model.modules() if isinstance(module, Int8Linear)])


def _move_to_pages(modules: list[Int8Linear]) -> None:
    """Put the int8 weights one behind the other in large pages, in pieces, so that little is held twice."""
    piece: list[Int8Linear] = []
    size = 0
    for module in modules:
        piece.append(module)
        size += module.held.nbytes
        if size >= PIECE or module is modules[-1]:
            for owner, held in zip(piece, packed([each.held for each in piece]), strict=True):
                owner.held = held
            piece, size = [], 0


def keep_nf4_portable(model: nn.Module) -> None:
    """Make nf4 layers compute the same on every CPU, in training and out of it.

    On CPUs with AVX512-BF16, bitsandbytes repacks a layer's weights for a bf16 kernel at its first
    forward in eval mode. The numbers then depend on the CPU, and the repacked weights have no
    backward: training would break after the first evaluation.
    """
    from bitsandbytes.nn.modules import Linear4bit

    for module in model.modules():
        if isinstance(module, Linear4bit):
            module.support_avx512bf16_for_cpu = False
