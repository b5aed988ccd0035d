"""Attention over the paged KV cache, for any transformers decoder that takes attention functions.

Rows of many sequences are packed into one batch row. Each layer writes the rows' keys and values to
their places and attends, per sequence, to all positions up to the row's own. transformers builds no
mask for a function it has no mask function for, so causality is ours; so are the options that
families pass along: scaling, sliding window, soft cap and attention sinks. Anything else that is
not empty is refused, for it would be ignored.
"""

from __future__ import annotations

from collections.abc import Mapping
from ctypes import Array
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional
from transformers import AttentionInterface

from adapterhub.engine.kv_cache import KVCache
from adapterhub.engine.sequence import Chunk, cat_places
from adapterhub.errors import UnsupportedBaseError
from adapterhub.ops import ChunkStruct, Kernels

NAME = "adapterhub_paged"
_WITHOUT_EFFECT = frozenset(
    ("position_ids", "use_cache", "dropout", "is_causal", "cache_position", "output_attentions")
)


@dataclass
class AttentionMap:
    """Where the rows of one step read and write, made once and used by every layer."""

    cache: KVCache
    dtype: torch.dtype
    """What attention computes in: the base's `row_dtype`."""
    write: Tensor
    """Place of each row's own position: [rows]."""
    single_rows: Tensor
    """Rows that are the only one of their sequence in the step: [s]."""
    single_places: Tensor
    """Places of all their positions, padded to the longest: [s, positions]."""
    single_lengths: Tensor
    """How many of them count: [s, 1]."""
    spans: list[tuple[int, Chunk]]
    """First row and chunk of every sequence with more rows."""
    kernels: Kernels | None = None
    chunks: Array[ChunkStruct] | None = None
    """The step's, for the kernels. Where these compute, all but `write` is empty."""
    _masks: dict[tuple[int, int | None], Tensor] = field(default_factory=dict)

    @classmethod
    def of(
        cls, chunks: list[Chunk], cache: KVCache, dtype: torch.dtype, kernels: Kernels | None = None
    ) -> AttentionMap:
        """The map of a step's chunks, in the order of its rows."""
        if kernels:
            return cls._native(chunks, cache, dtype, kernels)
        singles, rows, spans, row = [], [], [], 0
        for chunk in chunks:
            if chunk.stop - chunk.start == 1:
                rows.append(row)
                singles.append(chunk)
            else:
                spans.append((row, chunk))
            row += chunk.stop - chunk.start
        write = cat_places(chunks)
        longest = max((chunk.stop for chunk in singles), default=0)
        single_rows = write.new_tensor(rows)
        # what is read behind a row's own positions counts for nothing if it is finite, which another's may not be
        places = write[single_rows].unsqueeze(1).repeat(1, longest)
        for index, chunk in enumerate(singles):
            places[index, : chunk.stop] = chunk.places()
        lengths = write.new_tensor([chunk.stop for chunk in singles]).unsqueeze(1)
        return cls(cache, dtype, write, single_rows, places, lengths, spans)

    @classmethod
    def _native(cls, chunks: list[Chunk], cache: KVCache, dtype: torch.dtype, kernels: Kernels) -> AttentionMap:
        write, structs, row = cat_places(chunks), (ChunkStruct * len(chunks))(), 0
        for index, chunk in enumerate(chunks):
            structs[index] = ChunkStruct(chunk.places().data_ptr(), chunk.start, chunk.stop, row)
            row += chunk.stop - chunk.start
        none = write.new_empty(0)
        return cls(cache, dtype, write, none, none, none, [], kernels, structs)

    def single_mask(self, window: int | None) -> Tensor:
        """True where a single row attends: [s, positions]."""
        mask = self._masks.get((-1, window))
        if mask is None:
            positions = torch.arange(self.single_places.shape[1], device=self.write.device)
            mask = positions < self.single_lengths
            if window is not None:
                mask = mask & (positions >= self.single_lengths - window)
            self._masks[-1, window] = mask
        return mask

    def span_mask(self, row: int, chunk: Chunk, window: int | None) -> Tensor:
        """True where the rows of a span attend: [n, positions]."""
        mask = self._masks.get((row, window))
        if mask is None:
            own = torch.arange(chunk.start, chunk.stop, device=self.write.device).unsqueeze(1)
            positions = torch.arange(chunk.stop, device=self.write.device)
            mask = positions <= own
            if window is not None:
                mask = mask & (positions > own - window)
            self._masks[row, window] = mask
        return mask


def paged_attention(
    module: nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    scaling: float | None = None,
    sliding_window: int | None = None,
    softcap: float | None = None,
    s_aux: Tensor | None = None,
    attention_map: AttentionMap | None = None,
    **rest: Any,
) -> tuple[Tensor, None]:
    """`query`: [1, heads, rows, head_dim]; `key`, `value`: [1, kv_heads, rows, head_dim].

    Returns [1, rows, heads, head_dim]. Raises UnsupportedBaseError for an option it does not know.
    """
    assert attention_map is not None, "the model ran outside a step"
    check_options(attention_mask, rest)
    layer: Any = module.layer_idx
    cache = attention_map.cache
    scale = query.shape[-1] ** -0.5 if scaling is None else scaling
    if attention_map.kernels:
        q, k, v = (tensor[0].transpose(0, 1).contiguous() for tensor in (query, key, value))
        rows = attend_natively(attention_map, layer, q, k, v, scale, sliding_window, softcap, s_aux)
        return rows.unsqueeze(0), None
    cache.write(layer, attention_map.write, key[0].transpose(0, 1), value[0].transpose(0, 1))
    attend = partial(_attend, scale=scale, softcap=softcap, dtype=attention_map.dtype)
    queries = query[0].transpose(0, 1)
    out = torch.empty_like(queries)
    kv_heads = key.shape[1]
    if len(attention_map.single_rows):
        keys, values = (rows.transpose(1, 2) for rows in cache.read(layer, attention_map.single_places))
        # One query per sequence: its heads stand as rows of the key-value head they share.
        q = queries[attention_map.single_rows]
        q = q.view(len(q), kv_heads, -1, q.shape[-1])
        mask = attention_map.single_mask(sliding_window)[:, None, None, :]
        sinks = None if s_aux is None else s_aux.view(1, kv_heads, -1, 1)
        out[attention_map.single_rows] = attend(q, keys, values, mask, sinks).flatten(1, 2)
    for first, chunk in attention_map.spans:
        places = chunk.places()
        count = chunk.stop - chunk.start
        keys, values = (rows.transpose(0, 1).unsqueeze(1) for rows in cache.read(layer, places))
        q = queries[first : first + count].reshape(count, kv_heads, -1, queries.shape[-1]).permute(1, 2, 0, 3)
        mask = attention_map.span_mask(first, chunk, sliding_window)[None, None]
        sinks = None if s_aux is None else s_aux.view(kv_heads, -1, 1, 1)
        result = attend(q, keys, values, mask, sinks)
        out[first : first + count] = result.permute(2, 0, 1, 3).flatten(1, 2)
    return out.unsqueeze(0), None


def attend_natively(
    attention_map: AttentionMap,
    layer: int,
    q: Tensor,
    k: Tensor,
    v: Tensor,
    scale: float,
    window: int | None = None,
    softcap: float | None = None,
    sinks: Tensor | None = None,
    rotary: tuple[Tensor, Tensor] | None = None,
) -> Tensor:
    """The kernels' attention, with `rotary` over queries and keys that are not rotated yet.

    q and result: [rows, heads, head_dim]; k, v: [rows, kv_heads, head_dim].
    """
    kernels, chunks = attention_map.kernels, attention_map.chunks
    assert kernels is not None
    assert chunks is not None
    cached = attention_map.cache.layer(layer)
    kernels.store(cached, q, k, v, attention_map.write, rotary)
    sinks = None if sinks is None else sinks.detach().float().contiguous()
    return kernels.attend(cached, q, chunks, scale=scale, window=window, softcap=softcap, sinks=sinks)


def check_options(attention_mask: Tensor | None, rest: Mapping[str, Any]) -> None:
    """Raises UnsupportedBaseError for a mask of the model's own and for keywords that would be ignored."""
    unknown = sorted(k for k, v in rest.items() if k not in _WITHOUT_EFFECT and v is not None and v is not False)
    if attention_mask is not None or unknown:
        raise UnsupportedBaseError(f"attention with {', '.join(unknown) or 'a mask of its own'} is not served")


def _attend(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    mask: Tensor,
    sinks: Tensor | None,
    *,
    scale: float,
    softcap: float | None,
    dtype: torch.dtype,
) -> Tensor:
    """softmax(softcap(q k^T scale) + mask) v in `dtype`, over broadcast leading dimensions; in the dtype of `v`."""
    if softcap is None and sinks is None and dtype != torch.float64:
        k, v = k.expand(*q.shape[:2], *k.shape[2:]), v.expand(*q.shape[:2], *v.shape[2:])
        return functional.scaled_dot_product_attention(q, k, v, attn_mask=mask, scale=scale)
    out_dtype, q, k, v = v.dtype, q.to(dtype), k.to(dtype), v.to(dtype)
    scores = (q @ k.transpose(-1, -2)).mul_(scale)
    if softcap is not None:
        scores = torch.tanh(scores / softcap) * softcap
    scores = scores.masked_fill_(~mask, float("-inf"))
    if sinks is None:
        return (torch.softmax(scores, dim=-1) @ v).to(out_dtype)
    scores = torch.cat([scores, sinks.to(dtype).expand(*scores.shape[:-1], 1)], dim=-1)
    return (torch.softmax(scores, dim=-1)[..., :-1] @ v).to(out_dtype)


AttentionInterface.register(NAME, paged_attention)
