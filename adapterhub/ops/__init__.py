"""Native kernels of the CPU, each beside the torch code that says what it computes.

They are compiled once with the system's C compiler, into the user's cache; without one torch computes everything.
"""

from adapterhub.ops.choice import Choice, chosen_kernels
from adapterhub.ops.kernels import (
    ChunkStruct,
    DecoderLayerStruct,
    Kernels,
    Layer,
    LayerStruct,
    Matrices,
    Matrix,
    OptionsStruct,
    Quantized,
    pack_int8,
    unpack_int8,
)
from adapterhub.ops.pages import packed, pages
from adapterhub.ops.updates import KernelOp, Places, Segments, Update, Updates, updates_of

__all__ = [
    "Choice",
    "ChunkStruct",
    "DecoderLayerStruct",
    "KernelOp",
    "Kernels",
    "Layer",
    "LayerStruct",
    "Matrices",
    "Matrix",
    "OptionsStruct",
    "Places",
    "Quantized",
    "Segments",
    "Update",
    "Updates",
    "chosen_kernels",
    "pack_int8",
    "packed",
    "pages",
    "unpack_int8",
    "updates_of",
]
