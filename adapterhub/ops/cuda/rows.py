"""What the adapters of a step do at a module, each to the rows of its own segment, as Triton kernels.

    u[i] = A z[i]                                                    shrink; z[i] is x[i], or y[i] itself
    y[i] = scale * y[i] + B f(u[i] + bias) + shift                   expand
    x[i] = front * x[i]                                              scale_rows

    A [rank, in]   B [rank, out], transposed   front [in]   bias [rank]   scale, shift [out]

One launch is all segments, each with its own rank: a program has a tile of at most ROWS rows of one segment and finds
that adapter's tensors by their addresses. The idea of shrinking and expanding by segments is that of SGMV (Chen et al.
2023, Punica, arXiv:2310.18547, section 4), that of gathering rows of any rank without padding S-LoRA's (Sheng et al.
2023, arXiv:2311.03285, section 5.3).

A tile has the same shape whether it holds one row or all of them, and whatever else is in the step: a row's sums have
one order, along its own columns. Weights of 16 bits are widened; products are those of fp32, never of tf32.

This module needs Triton. Nothing of `triton.language` that is itself a jitted function is used, for the interpreter can
only run those if it was asked for before Triton was first imported.
"""

import torch
import triton
import triton.language as tl

from adapterhub.ops.cuda import sizes
from adapterhub.ops.updates import ACTIVATIONS, KINDS, UpdateStruct

POINTER = 8
"""Bytes of an address."""
INT = 4

A = tl.constexpr(UpdateStruct.a.offset // POINTER)
B = tl.constexpr(UpdateStruct.b.offset // POINTER)
BIAS = tl.constexpr(UpdateStruct.bias.offset // POINTER)
SCALE = tl.constexpr(UpdateStruct.scale.offset // POINTER)
SHIFT = tl.constexpr(UpdateStruct.shift.offset // POINTER)
FRONT = tl.constexpr(UpdateStruct.front.offset // POINTER)
RANK = tl.constexpr(UpdateStruct.rank.offset // POINTER)
A_KIND = tl.constexpr(UpdateStruct.a_kind.offset // INT)
B_KIND = tl.constexpr(UpdateStruct.b_kind.offset // INT)
ACTIVATION = tl.constexpr(UpdateStruct.activation.offset // INT)
READS_OUTPUT = tl.constexpr(UpdateStruct.reads_output.offset // INT)

BFLOAT16 = tl.constexpr(KINDS[torch.bfloat16])
FLOAT16 = tl.constexpr(KINDS[torch.float16])
RELU = tl.constexpr(ACTIVATIONS["relu"])
SILU = tl.constexpr(ACTIVATIONS["silu"])
GELU = tl.constexpr(ACTIVATIONS["gelu"])
GELU_TANH = tl.constexpr(ACTIVATIONS["gelu_tanh"])

UPDATE, FIRST, STOP, HIDDEN, STRIDE = (tl.constexpr(place) for place in range(5))
"""A tile's words, as `Tiles.table` has them."""
WORDS = tl.constexpr(sizes.WORDS)
BYTES = tl.constexpr(sizes.BYTES)
ROWS = tl.constexpr(sizes.ROWS)
RANKS = tl.constexpr(sizes.RANKS)
COLUMNS = tl.constexpr(sizes.COLUMNS)
SPAN = tl.constexpr(sizes.SPAN)
OUTS = tl.constexpr(sizes.OUTS)


@triton.jit
def _update(tile, module):
    """The address of the tile's update at a module."""
    return tl.load(tile + UPDATE) + module * BYTES


@triton.jit
def _word(update, place):
    return tl.load(update.to(tl.pointer_type(tl.int64)) + place)


@triton.jit
def _number(update, place):
    return tl.load(update.to(tl.pointer_type(tl.int32)) + place)


@triton.jit
def _products(z, a, rows, stop, ranks, rank, begin, end, width):
    """sum_k z[row, k] a[rank, k] over columns `begin` to `end`, [ROWS, RANKS]."""
    total = tl.full((ROWS, RANKS), 0.0, tl.float32)
    for start in range(begin, end, COLUMNS):
        columns = start + tl.arange(0, COLUMNS)
        mine = (rows < stop)[:, None] & (columns < end)[None, :]
        own = tl.load(z + rows[:, None] * width + columns[None, :], mask=mine, other=0.0)
        there = (columns < end)[:, None] & (ranks < rank)[None, :]
        weight = tl.load(a + ranks[None, :] * width + columns[:, None], mask=there, other=0.0)
        total = tl.dot(own.to(tl.float32), weight.to(tl.float32), total, input_precision="ieee")
    return total


@triton.jit(do_not_specialize=["module", "size"])
def shrink(tiles, module, x, y, width, out, hidden, size):
    """Program (tile, span, block of ranks): what SPAN columns give of u, [spans, size]; added up where it is read."""
    tile = tiles + tl.program_id(0) * WORDS
    update = _update(tile, module)
    rank = _word(update, RANK).to(tl.int32)
    z = x
    wide = width
    if _number(update, READS_OUTPUT) != 0:
        z = y
        wide = out
    begin = tl.program_id(1) * SPAN
    ranks = tl.program_id(2) * RANKS + tl.arange(0, RANKS)
    if (begin < wide) & (tl.program_id(2) * RANKS < rank):
        end = tl.minimum(begin + SPAN, wide)
        first, stop = tl.load(tile + FIRST), tl.load(tile + STOP)
        rows = first + tl.arange(0, ROWS)
        a = _word(update, A)
        kind = _number(update, A_KIND)
        total = tl.full((ROWS, RANKS), 0.0, tl.float32)
        if kind == BFLOAT16:
            weights_bfloat16 = a.to(tl.pointer_type(tl.bfloat16))
            total = _products(z, weights_bfloat16, rows, stop, ranks, rank, begin, end, wide)
        elif kind == FLOAT16:
            weights_float16 = a.to(tl.pointer_type(tl.float16))
            total = _products(z, weights_float16, rows, stop, ranks, rank, begin, end, wide)
        else:
            weights_float32 = a.to(tl.pointer_type(tl.float32))
            total = _products(z, weights_float32, rows, stop, ranks, rank, begin, end, wide)
        at = tl.load(tile + HIDDEN) + (rows - first)[:, None] * tl.load(tile + STRIDE) + ranks[None, :]
        mine = (rows < stop)[:, None] & (ranks < rank)[None, :]
        tl.store(hidden + tl.program_id(1).to(tl.int64) * size + at, total, mask=mine)


@triton.jit
def _activated(u, activation):
    result = u
    if activation == RELU:
        result = tl.where(u < 0.0, 0.0, u)
    elif activation == SILU:
        result = u / (1.0 + tl.exp(-u))
    elif activation == GELU:
        result = 0.5 * u * (1.0 + tl.erf(u * 0.7071067811865476))
    elif activation == GELU_TANH:
        inner = 0.7978845608028654 * (u + 0.044715 * u * u * u)
        result = u / (1.0 + tl.exp(-2.0 * inner))  # 0.5 (1 + tanh v) = 1 / (1 + exp(-2v))
    return result


@triton.jit
def _widened(b, update, hidden, size, spans, at, mine, rank, columns, out):
    """sum_r f(u[row, r] + bias[r]) b[r, column], [ROWS, OUTS]."""
    bias = _word(update, BIAS)
    activation = _number(update, ACTIVATION)
    total = tl.full((ROWS, OUTS), 0.0, tl.float32)
    for start in range(0, rank, RANKS):
        ranks = start + tl.arange(0, RANKS)
        real = ranks < rank
        u = tl.full((ROWS, RANKS), 0.0, tl.float32)
        place = hidden + at[:, None] + ranks[None, :]
        for _ in range(spans):
            u += tl.load(place, mask=mine[:, None] & real[None, :], other=0.0)
            place += size
        if bias != 0:
            u += tl.load(bias.to(tl.pointer_type(tl.float32)) + ranks, mask=real, other=0.0)[None, :]
        u = _activated(u, activation)
        there = real[:, None] & (columns < out)[None, :]
        weight = tl.load(b + ranks[:, None] * out + columns[None, :], mask=there, other=0.0)
        total = tl.dot(u, weight.to(tl.float32), total, input_precision="ieee")
    return total


@triton.jit(do_not_specialize=["module", "size"])
def expand(tiles, module, y, width, out, hidden, size):
    """Program (tile, block of OUTS columns)."""
    tile = tiles + tl.program_id(0) * WORDS
    update = _update(tile, module)
    rank = _word(update, RANK).to(tl.int32)
    scale, shift = _word(update, SCALE), _word(update, SHIFT)
    if (rank != 0) | (scale != 0) | (shift != 0):
        first, stop = tl.load(tile + FIRST), tl.load(tile + STOP)
        rows = first + tl.arange(0, ROWS)
        columns = tl.program_id(1) * OUTS + tl.arange(0, OUTS)
        wide = width
        if _number(update, READS_OUTPUT) != 0:
            wide = out
        spans = (wide + SPAN - 1) // SPAN
        at = tl.load(tile + HIDDEN) + (rows - first) * tl.load(tile + STRIDE)
        mine = rows < stop
        b = _word(update, B)
        kind = _number(update, B_KIND)
        total = tl.full((ROWS, OUTS), 0.0, tl.float32)
        if kind == BFLOAT16:
            weights_bfloat16 = b.to(tl.pointer_type(tl.bfloat16))
            total = _widened(weights_bfloat16, update, hidden, size, spans, at, mine, rank, columns, out)
        elif kind == FLOAT16:
            weights_float16 = b.to(tl.pointer_type(tl.float16))
            total = _widened(weights_float16, update, hidden, size, spans, at, mine, rank, columns, out)
        else:
            weights_float32 = b.to(tl.pointer_type(tl.float32))
            total = _widened(weights_float32, update, hidden, size, spans, at, mine, rank, columns, out)
        inside = columns < out
        place = y + rows[:, None] * out + columns[None, :]
        own = tl.load(place, mask=mine[:, None] & inside[None, :], other=0.0).to(tl.float32)
        if scale != 0:
            own *= tl.load(scale.to(tl.pointer_type(tl.float32)) + columns, mask=inside, other=0.0)[None, :]
        own += total
        if shift != 0:
            own += tl.load(shift.to(tl.pointer_type(tl.float32)) + columns, mask=inside, other=0.0)[None, :]
        tl.store(place, own.to(y.dtype.element_ty), mask=mine[:, None] & inside[None, :])


@triton.jit(do_not_specialize=["module"])
def scale_rows(tiles, module, x, width):
    """Program (tile, block of OUTS columns)."""
    tile = tiles + tl.program_id(0) * WORDS
    front = _word(_update(tile, module), FRONT)
    if front != 0:
        rows = tl.load(tile + FIRST) + tl.arange(0, ROWS)
        columns = tl.program_id(1) * OUTS + tl.arange(0, OUTS)
        inside = columns < width
        mine = (rows < tl.load(tile + STOP))[:, None] & inside[None, :]
        place = x + rows[:, None] * width + columns[None, :]
        factor = tl.load(front.to(tl.pointer_type(tl.float32)) + columns, mask=inside, other=0.0)
        own = tl.load(place, mask=mine, other=0.0).to(tl.float32) * factor[None, :]
        tl.store(place, own.to(x.dtype.element_ty), mask=mine)
