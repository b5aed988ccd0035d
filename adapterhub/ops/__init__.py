"""Kernels, each beside the torch code that says what it computes.

The CPU's are compiled once with the system's C compiler, into the user's cache; without one torch computes everything.
CUDA's are for what adapters do only, and need Triton, which comes with torch there.
"""

from adapterhub.ops.adapter_kernels import AdapterKernels
from adapterhub.ops.c_interface import ChunkStruct, DecoderLayerStruct, LayerStruct, OptionsStruct
from adapterhub.ops.choice import Choice, chosen_cuda_kernels, chosen_kernels
from adapterhub.ops.int8_rows import Matrices, Matrix, Quantized, pack_int8, unpack_int8
from adapterhub.ops.kernels import Kernels, Layer
from adapterhub.ops.pages import packed, pages
from adapterhub.ops.updates import KernelOp, Place, Places, Run, Segments, Update, Updates, updates_of

__all__ = [
    "AdapterKernels",
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
    "Place",
    "Places",
    "Quantized",
    "Run",
    "Segments",
    "Update",
    "Updates",
    "chosen_cuda_kernels",
    "chosen_kernels",
    "pack_int8",
    "packed",
    "pages",
    "unpack_int8",
    "updates_of",
]
