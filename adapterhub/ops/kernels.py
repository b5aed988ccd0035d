"""The native kernels as functions of tensors: fp32 on the CPU, rows contiguous. They are `AdapterKernels` too.

A row's result is the same to the bit whatever rows are computed beside it: every sum has an order of its own
(`source/vector.h`).
"""

from __future__ import annotations

import ctypes
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, Self, TypeVar

import torch
from torch import Tensor

from adapterhub.errors import UnavailableError
from adapterhub.ops.c_interface import (
    NOWHERE,
    SIGNATURES,
    ChunkStruct,
    DecoderLayerStruct,
    LayerStruct,
    OptionsStruct,
    StepStruct,
)
from adapterhub.ops.compiled import Compiled
from adapterhub.ops.int8_rows import Matrices, Quantized
from adapterhub.ops.packing import packed_updates
from adapterhub.ops.updates import (
    KernelOp,
    Place,
    Places,
    PlaceStruct,
    Run,
    Segments,
    Update,
    Updates,
    updates_of,
)

K = TypeVar("K")


class Layer(NamedTuple):
    """One layer's cache, and the heads that look at it."""

    keys: Tensor
    """[blocks, kv_heads, head_dim, 16]: a block's positions side by side."""
    values: Tensor
    """[blocks, kv_heads, 16, head_dim]"""

    def struct(self, heads: int) -> LayerStruct:
        _, kv_heads, _, dim = self.values.shape
        return LayerStruct(self.keys.data_ptr(), self.values.data_ptr(), heads, kv_heads, dim)


@dataclass(frozen=True, eq=False)
class Kernels:
    """A loaded library."""

    compiled: Compiled
    tile: int
    """Outputs that a packed int8 weight keeps together; 0 where torch multiplies int8 faster than the kernel."""
    _c: Any

    @classmethod
    def load(cls, compiled: Compiled) -> Self:
        """Raises UnavailableError when it is no library of ours."""
        try:
            c = ctypes.CDLL(str(compiled.path))
            for name, (result, arguments) in SIGNATURES.items():
                function = getattr(c, name, None)
                if function is not None:
                    function.restype, function.argtypes = result, arguments
            return cls(compiled, int(c.adapterhub_int8_tile()), c)
        except (OSError, AttributeError) as error:
            raise UnavailableError(f"{compiled.path}: {error}") from None

    def __deepcopy__(self, memo: object) -> Self:
        return self  # a library is loaded once

    def quantize(self, x: Tensor) -> Quantized:
        """`x` [rows, k] in int8: to the bit as `adapterhub.base.int8.quantize_rows`."""
        _check(x)
        rows, width = x.shape
        q = Quantized.empty(rows, width)
        self._c.adapterhub_quantize(rows, width, x.data_ptr(), q.struct, torch.get_num_threads())
        return q

    def int8_matmul(self, q: Quantized, matrices: Matrices) -> list[Tensor]:
        """The rows times each matrix: [rows, out], in fp32. On one thread at a time, for all it is given."""
        rows, structs = q.rows, matrices.structs
        results = [torch.empty(rows, out) for out in matrices.outs]
        for struct, y in zip(structs, results, strict=True):
            struct.y = y.data_ptr()
        groups = -(-matrices.width // 4)
        self._c.adapterhub_int8_matmul(rows, groups, q.struct, len(structs), structs, torch.get_num_threads())
        return results

    def add_norm(
        self, h: Tensor, delta: Tensor | None, weight: Tensor, eps: float, *, quantize: bool
    ) -> tuple[Tensor, Tensor, Quantized | None]:
        """s = h + delta, x = weight * s / sqrt(mean(s^2) + eps) and, if asked for, x in int8. All [rows, width]."""
        _check(h, delta, weight)
        rows, width = h.shape
        x = torch.empty_like(h)
        total = h if delta is None else torch.empty_like(h)
        q = Quantized.empty(rows, width) if quantize else None
        self._c.adapterhub_add_norm(
            rows,
            width,
            h.data_ptr(),
            _address(delta),
            total.data_ptr(),
            weight.data_ptr(),
            eps,
            x.data_ptr(),
            q.struct if q else NOWHERE,
            torch.get_num_threads(),
        )
        return total, x, q

    def silu_gate(self, gate: Tensor, up: Tensor, *, quantize: bool) -> tuple[Tensor, Quantized | None]:
        """x = silu(gate) * up and, if asked for, x in int8. All [rows, width]."""
        _check(gate, up)
        rows, width = gate.shape
        x = torch.empty_like(gate)
        q = Quantized.empty(rows, width) if quantize else None
        self._c.adapterhub_silu_gate(
            rows,
            width,
            gate.data_ptr(),
            up.data_ptr(),
            x.data_ptr(),
            q.struct if q else NOWHERE,
            torch.get_num_threads(),
        )
        return x, q

    @property
    def digest(self) -> str:
        return self.compiled.digest

    @property
    def float16(self) -> bool:
        """Whether updates may be in float16."""
        return bool(self._c.adapterhub_has_float16())

    def read(self, ops: Mapping[K, KernelOp]) -> Mapping[K, Update]:
        made = packed_updates(ops, self._c)
        return updates_of(ops, float16=self.float16) if made is None else made

    def hold(self, updates: Mapping[int, Update], modules: int) -> Updates:
        return Updates.of(updates, modules)

    def segments(self, runs: Sequence[Run]) -> Segments:
        return Segments.of(runs)

    def update_(self, places: Sequence[Place], segments: Segments) -> None:
        if segments.size:
            at = Places.of(places)
            self._c.adapterhub_updates(at.size, at.structs, segments.size, segments.structs, torch.get_num_threads())

    def scale_rows_(self, module: int, x: Tensor, segments: Segments) -> None:
        _check(x)
        if segments.size:
            place = PlaceStruct(module=module, in_=x.shape[-1], x=x.data_ptr())
            self._c.adapterhub_scale_rows(place, segments.size, segments.structs)

    def store(
        self,
        layer: Layer,
        q: Tensor,
        k: Tensor,
        v: Tensor,
        places: Tensor,
        rotary: tuple[Tensor, Tensor] | None = None,
    ) -> None:
        """Write rows' keys and values to their places, [rows]. With `rotary`, cos and sin [rows, dim] each, keys are
        rotated on their way and `q` in place.

        q: [rows, heads, dim]; k, v: [rows, kv_heads, dim].
        """
        _check(q, k, v, *(rotary or ()))
        cos, sin = rotary or (None, None)
        self._c.adapterhub_store(
            q.shape[0],
            layer.struct(q.shape[1]),
            q.data_ptr(),
            k.data_ptr(),
            v.data_ptr(),
            _address(cos),
            _address(sin),
            places.data_ptr(),
            torch.get_num_threads(),
        )

    def attend(
        self,
        layer: Layer,
        q: Tensor,
        chunks: ctypes.Array[ChunkStruct],
        *,
        scale: float,
        window: int | None = None,
        softcap: float | None = None,
        sinks: Tensor | None = None,
    ) -> Tensor:
        """softmax(softcap(q k^T scale)) v for rows of `chunks`, over the positions up to each row's own.

        q and result: [rows, heads, dim]; sinks: [heads]. Raises MemoryError.
        """
        _check(q, sinks)
        out = torch.empty_like(q)
        options = OptionsStruct(scale, softcap or 0.0, window or 0, _address(sinks))
        struct = layer.struct(q.shape[1])
        threads = torch.get_num_threads()
        if self._c.adapterhub_attend(struct, len(chunks), chunks, options, q.data_ptr(), out.data_ptr(), threads):
            raise MemoryError("attention: no memory for a row's scores")
        return out

    def layers(
        self,
        layers: ctypes.Array[DecoderLayerStruct],
        h: Tensor,
        rotary: tuple[Tensor, Tensor],
        places: Tensor,
        chunks: ctypes.Array[ChunkStruct],
        segments: Segments,
        *,
        fronts: bool,
        parts: bool,
    ) -> tuple[Tensor, Tensor]:
        """Whole int8 layers over the residual `h` [rows, hidden]: what it becomes, and what is still to be added.

        The kernels' own bits, in one call. `fronts`: a segment scales rows in front of a module; `parts`: one acts on
        what attention, the feed-forward part or a layer gives. The rest as in `store`, `attend` and `update_`.
        Raises MemoryError.
        """
        _check(h, *rotary)
        h, delta = h.clone(), torch.empty_like(h)
        cos, sin = rotary
        rows, hidden = h.shape
        step = StepStruct(rows, hidden, cos.data_ptr(), sin.data_ptr(), places.data_ptr(), len(chunks), chunks)
        step.fronts, step.parts = fronts, parts
        step.rank = max((updates.rank for updates in segments.kept), default=0)
        step.segments, step.s, step.threads = segments.size, segments.structs, torch.get_num_threads()
        if self._c.adapterhub_layers(len(layers), layers, step, h.data_ptr(), delta.data_ptr()):
            raise MemoryError("decoder layers: no memory for a step's rows")
        return h, delta


def _check(*tensors: Tensor | None) -> None:
    """Only our own code calls a kernel: what does not fit is our bug, and would read another's memory."""
    for tensor in tensors:
        if tensor is not None:
            fits = tensor.dtype is torch.float32 and tensor.is_contiguous() and tensor.is_cpu
            assert fits, f"a kernel was given {tensor.dtype}, strides {tensor.stride()}, on {tensor.device}"


def _address(tensor: Tensor | None) -> int | None:
    return None if tensor is None else tensor.data_ptr()
