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
from adapterhub.ops.low_rank import Places, Segments, Updates, as_rows

__all__ = [
    "Choice",
    "ChunkStruct",
    "DecoderLayerStruct",
    "Kernels",
    "Layer",
    "LayerStruct",
    "Matrices",
    "Matrix",
    "OptionsStruct",
    "Places",
    "Quantized",
    "Segments",
    "Updates",
    "as_rows",
    "chosen_kernels",
    "pack_int8",
    "unpack_int8",
]
