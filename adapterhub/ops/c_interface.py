"""What the library's functions take and give: `source/kernels.h` and `source/decoder.c`, as ctypes has it."""

from __future__ import annotations

from ctypes import POINTER, Structure, c_float, c_int, c_long, c_void_p
from typing import Any

from adapterhub.ops.packing import NumbersStruct
from adapterhub.ops.updates import PlaceStruct, SegmentStruct


class QuantizedStruct(Structure):
    _fields_ = (("values", c_void_p), ("scale", c_void_p), ("sum", c_void_p), ("stride", c_long))


class MatrixStruct(Structure):
    _fields_ = (("weight", c_void_p), ("scale", c_void_p), ("bias", c_void_p), ("y", c_void_p), ("out", c_long))


class LayerStruct(Structure):
    _fields_ = (
        ("keys", c_void_p),
        ("values", c_void_p),
        ("heads", c_long),
        ("kv_heads", c_long),
        ("dim", c_long),
    )


class ChunkStruct(Structure):
    _fields_ = (("places", c_void_p), ("start", c_long), ("stop", c_long), ("row", c_long))


class OptionsStruct(Structure):
    _fields_ = (("scale", c_float), ("softcap", c_float), ("window", c_long), ("sinks", c_void_p))


class DecoderLayerStruct(Structure):
    _fields_ = (
        ("input_norm", c_void_p),
        ("mlp_norm", c_void_p),
        ("q_norm", c_void_p),
        ("k_norm", c_void_p),
        ("input_eps", c_float),
        ("mlp_eps", c_float),
        ("q_eps", c_float),
        ("k_eps", c_float),
        ("qkv", MatrixStruct * 3),
        ("output", MatrixStruct),
        ("gate_up", MatrixStruct * 2),
        ("down", MatrixStruct),
        ("modules", c_long * 10),
        ("cache", LayerStruct),
        ("options", OptionsStruct),
    )


class StepStruct(Structure):
    _fields_ = (
        ("rows", c_long),
        ("hidden", c_long),
        ("cos", c_void_p),
        ("sin", c_void_p),
        ("places", c_void_p),
        ("chunks", c_long),
        ("c", POINTER(ChunkStruct)),
        ("segments", c_long),
        ("s", POINTER(SegmentStruct)),
        ("fronts", c_int),
        ("parts", c_int),
        ("rank", c_long),
        ("threads", c_int),
    )


NOWHERE = QuantizedStruct(None, None, None, 0)

_ROWS = (c_long, c_long)
SIGNATURES: dict[str, tuple[Any, tuple[Any, ...]]] = {
    "adapterhub_int8_tile": (c_long, ()),
    "adapterhub_quantize": (None, (*_ROWS, c_void_p, QuantizedStruct, c_int)),
    "adapterhub_int8_matmul": (None, (*_ROWS, QuantizedStruct, c_long, POINTER(MatrixStruct), c_int)),
    "adapterhub_add_norm": (
        None,
        (*_ROWS, c_void_p, c_void_p, c_void_p, c_void_p, c_float, c_void_p, QuantizedStruct, c_int),
    ),
    "adapterhub_silu_gate": (None, (*_ROWS, c_void_p, c_void_p, c_void_p, QuantizedStruct, c_int)),
    "adapterhub_has_float16": (c_long, ()),
    "adapterhub_measure": (c_long, (c_long, POINTER(NumbersStruct))),
    "adapterhub_fill": (None, (c_long, POINTER(NumbersStruct), c_void_p)),
    "adapterhub_updates": (None, (c_long, POINTER(PlaceStruct), c_long, POINTER(SegmentStruct), c_int)),
    "adapterhub_scale_rows": (None, (PlaceStruct, c_long, POINTER(SegmentStruct))),
    "adapterhub_store": (
        None,
        (c_long, LayerStruct, c_void_p, c_void_p, c_void_p, c_void_p, c_void_p, c_void_p, c_int),
    ),
    "adapterhub_layers": (c_int, (c_long, POINTER(DecoderLayerStruct), StepStruct, c_void_p, c_void_p)),
    "adapterhub_attend": (
        c_int,
        (LayerStruct, c_long, POINTER(ChunkStruct), OptionsStruct, c_void_p, c_void_p, c_int),
    ),
}
