"""Decode steps that a device does again without Python: one graph for each shape of a step.

A graph's rows, positions and tiles of adapters are padded to some sizes, and what it reads lies in tensors of its own.
Adapters are found by their addresses in the table of tiles, so that one graph does for all that act at the same
modules. What a graph gives first is held against the same steps computed as ever; where it differs, or cannot be had,
nothing is captured any more.
"""

from __future__ import annotations

import logging
from collections import Counter, OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from adapterhub.engine.decode_inputs import DecodeInputs
from adapterhub.engine.kv_cache import KVCache
from adapterhub.engine.recorder import Recorder
from adapterhub.engine.routing import Routing
from adapterhub.engine.sequence import Chunk
from adapterhub.engine.sites import Acting, Sites
from adapterhub.ops.cuda import CudaKernels, Tiles

log = logging.getLogger(__name__)

GRAPHS = 32
"""Kept at most; of more, those used longest ago are dropped."""
WORTH = 8
"""Steps of a shape that run as ever before it is captured, which takes as long as some steps."""
LEAST_PLACES = 256
"""Positions that attention is padded to at least."""
LEAST_RANK = 16
CHECKS = 2
"""Steps that a graph is held against: the padding it was captured with may be what the first one asks for."""
CLOSE = {torch.float32: 1e-3, torch.bfloat16: 5e-2}
"""How far a row's logits may be off, of their own spread: products of padded rows are added up in another order."""

Eager = Callable[[list[Chunk], Routing], Tensor]
"""Computes a step as ever: the logits of its rows that reach the head, [heads, vocab] in fp32."""


class Shape(NamedTuple):
    """What one graph is for."""

    rows: int
    places: int
    rank: int
    """The highest of the adapters."""
    reads_output: bool
    """Whether one reads its module's output."""
    acting: Acting
    """Where they act; it names no adapter."""

    @classmethod
    def of(cls, chunks: list[Chunk], routing: Routing, acting: Acting) -> Shape:
        held = [segment.adapter.updates for segment in routing.rows if segment.adapter.updates]
        rank = max((updates.rank for updates in held), default=0)
        return cls(
            padded(len(chunks), 1),
            padded(max(chunk.stop for chunk in chunks), LEAST_PLACES),
            rank and padded(rank, LEAST_RANK),
            any(updates.reads_output for updates in held),
            acting._replace(adapters=()),
        )


@dataclass(eq=False)
class Graph:
    """A captured step and what it reads."""

    inputs: DecodeInputs
    tiles: Tiles | None
    """None where no adapter acts by the kernels."""
    replay: Callable[[], Tensor]
    checks: int = CHECKS
    """Steps it is still to be held against."""


class Captured:
    """Owns the graphs."""

    def __init__(
        self,
        recorder: Recorder,
        sites: Sites,
        kernels: CudaKernels | None,
        cache: KVCache,
        *,
        decode: Callable[[DecodeInputs], Tensor],
        eager: Eager,
    ) -> None:
        """`decode` computes the logits of all of the inputs' rows, [rows, vocab]."""
        self._recorder = recorder
        self._sites = sites
        self._kernels = kernels
        self._cache = cache
        self._decode = decode
        self._eager = eager
        self._close = CLOSE[cache.keys[0].dtype]
        self._graphs: OrderedDict[Shape, Graph] = OrderedDict()
        self._met: Counter[Shape] = Counter()
        """Steps of shapes that are not captured."""
        self._off = False

    def run(self, chunks: list[Chunk], routing: Routing) -> Tensor | None:
        """The logits of a step's rows, [rows, vocab] in fp32; None where it is to be computed as ever."""
        if self._off or not all(_decodes(chunk) for chunk in chunks):
            return None
        acting = self._sites.acting_of(routing)
        if acting.python:
            return None
        shape = Shape.of(chunks, routing, acting)
        graph = self._graphs.get(shape)
        if graph is None and not self._is_worth(shape):
            return None
        if graph is not None and not graph.checks:
            self._graphs.move_to_end(shape)
            return self._replay(graph, chunks, routing)
        try:
            graph = graph or self._record(shape, routing)
            logits = self._replay(graph, chunks, routing)
        except Exception as error:  # noqa: BLE001  what a device cannot capture is listed nowhere
            self._stop(f"{type(error).__name__}: {error}".partition("\n")[0])
            return None
        return self._check(graph, logits, self._eager(chunks, routing))

    def close(self) -> None:
        """Drop the graphs and their memory."""
        self._graphs.clear()

    def _is_worth(self, shape: Shape) -> bool:
        """Whether a shape came often enough to be captured."""
        if len(self._met) > 8 * GRAPHS:
            self._met.clear()
        self._met[shape] += 1
        return self._met[shape] > WORTH

    def _record(self, shape: Shape, routing: Routing) -> Graph:
        """Capture a step of padding alone, so that the first replay tells whether it reads what it is given."""
        inputs = DecodeInputs(shape.rows, shape.places, self._cache)
        tiles = None
        if shape.acting.native or shape.acting.fronts:
            assert self._kernels is not None
            tiles = self._kernels.room(shape.rows, shape.rank, self._sites.num_modules, reads_output=shape.reads_output)
        self._sites.begin(routing, tiles)
        try:
            graph = Graph(inputs, tiles, self._recorder.record(lambda: self._decode(inputs)))
        finally:
            self._sites.end()
        del self._met[shape]
        self._graphs[shape] = graph
        if len(self._graphs) > GRAPHS:
            self._graphs.popitem(last=False)
        return graph

    def _replay(self, graph: Graph, chunks: list[Chunk], routing: Routing) -> Tensor:
        graph.inputs.fill(chunks)
        if graph.tiles:
            graph.tiles.fill_(self._sites.segments_of(routing))
        logits = graph.replay()
        return logits[: len(chunks)].to(torch.float32, copy=True)  # the next replay writes over them

    def _check(self, graph: Graph, found: Tensor, expected: Tensor) -> Tensor:
        """The logits computed as ever, and whether the graph's are the same. Their keys and values stand as well."""
        finite = expected.isfinite().all(-1)  # an adapter may make its rows what they like
        found, known = found[finite], expected[finite]
        spread = (known - known.mean(-1, keepdim=True)).norm(dim=-1) + 1e-6
        off = ((found - known).norm(dim=-1) / spread).tolist()
        if not all(each < self._close for each in off):
            self._stop(f"a graph's logits are {max(off):.1e} of their spread off")
        graph.checks -= bool(off)
        return expected

    def _stop(self, reason: str) -> None:
        log.warning("decode steps are not captured any more: %s", reason)
        self._off = True
        self._graphs.clear()


def padded(count: int, least: int) -> int:
    """The next power of two, no less than `least`, which is one."""
    return max(least, 1 << (count - 1).bit_length())


def _decodes(chunk: Chunk) -> bool:
    """Whether it is one row, of a token, that reaches the head."""
    return chunk.stop - chunk.start == 1 and chunk.num_heads == 1 and chunk.virtual_rows() is None
