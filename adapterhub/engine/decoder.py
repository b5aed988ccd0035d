"""The layers of Llama and its like, run from one native kernel to the next.

    s = h + delta               x = norm(s)                  one pass, rounded to int8 once for all that read it
    q, k, v = x W               one call for three products, one for their low-rank updates
    a = attention(rotary(q), rotary(k), v)                   over the blocks, keys rotated on their way there
    s, x = as above             gate, up = x W               y = (silu(gate) * up) W is the next layer's delta

On int8 all of it is one call where the kernels compute all that acts inside the layers: the same kernels in the same
order, so the same bits. It computes what transformers' modules compute, in their order and at their names: adapters
act where they do when the modules run themselves.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple, Self

import torch
from torch import Tensor, nn

from adapterhub.base import BaseModel, Int8Linear
from adapterhub.engine.attention import AttentionMap, attend_natively
from adapterhub.engine.attention_probe import probe
from adapterhub.engine.kv_cache import KVCache
from adapterhub.engine.sites import Acting, Sites
from adapterhub.ops import DecoderLayerStruct, Kernels, Matrices, OptionsStruct, Quantized

MODELS = ("LlamaForCausalLM", "MistralForCausalLM", "Qwen2ForCausalLM", "Qwen3ForCausalLM")
"""Classes of transformers whose layers are these. Their like is not asked for: a class may do one thing more."""


class Norm(NamedTuple):
    """An RMSNorm."""

    name: str
    module: Any
    weight: Tensor
    """[width]"""
    eps: float

    @classmethod
    def of(cls, name: str, module: Any) -> Self:
        return cls(name, module, module.weight.detach(), float(module.variance_epsilon))


class Linears(NamedTuple):
    """Linear modules that share an input."""

    names: tuple[str, ...]
    modules: tuple[nn.Module, ...]
    matrices: Matrices | None
    """What the kernels multiply with; None where a module computes by itself."""

    @classmethod
    def of(cls, parent: str, owner: nn.Module, *names: str) -> Self:
        modules = tuple(owner.get_submodule(name) for name in names)
        int8 = [module for module in modules if isinstance(module, Int8Linear)]
        found = [matrix for module in int8 if (matrix := module.matrix)]
        matrices = Matrices.of(int8[0].in_features, *found) if len(found) == len(modules) else None
        prefix = f"{parent}." if parent else ""
        full = tuple(f"{prefix}{name}" for name in names)
        return cls(full, modules, matrices)


class DecoderLayer(NamedTuple):
    """The parts of one layer."""

    name: str
    module: Any
    number: int
    input_norm: Norm
    qkv: Linears
    head_norms: tuple[Norm, ...]
    """Of queries and of keys, in families that have them."""
    output: Linears
    scale: float
    window: int | None
    mlp_norm: Norm
    gate_up: Linears
    down: Linears

    @classmethod
    def of(cls, name: str, module: Any, index: int, window: int | None) -> Self:
        attention, mlp = module.self_attn, module.mlp
        heads = [part for part in ("q_norm", "k_norm") if hasattr(attention, part)]
        return cls(
            name,
            module,
            index,
            Norm.of(f"{name}.input_layernorm", module.input_layernorm),
            Linears.of(f"{name}.self_attn", attention, "q_proj", "k_proj", "v_proj"),
            tuple(Norm.of(f"{name}.self_attn.{part}", getattr(attention, part)) for part in heads),
            Linears.of(f"{name}.self_attn", attention, "o_proj"),
            float(attention.scaling),
            window,
            Norm.of(f"{name}.post_attention_layernorm", module.post_attention_layernorm),
            Linears.of(f"{name}.mlp", mlp, "gate_proj", "up_proj"),
            Linears.of(f"{name}.mlp", mlp, "down_proj"),
        )

    @property
    def parts(self) -> tuple[str, str, str]:
        """Attention, the feed-forward part, and the layer itself."""
        return f"{self.name}.self_attn", f"{self.name}.mlp", self.name

    @property
    def linears(self) -> tuple[str, ...]:
        return (*self.qkv.names, *self.output.names, *self.gate_up.names, *self.down.names)

    def struct(self, cache: KVCache, sites: Sites) -> DecoderLayerStruct | None:
        """The layer for the kernels; None where they do not multiply all of it in int8."""
        parts = (self.qkv, self.output, self.gate_up, self.down)
        matrices = [struct for part in parts if part.matrices for struct in part.matrices.structs]
        if len(matrices) < len(self.linears):
            return None
        heads = matrices[0].out // cache.layer(self.number).values.shape[-1]
        struct = DecoderLayerStruct(self.input_norm.weight.data_ptr(), self.mlp_norm.weight.data_ptr())
        struct.input_eps, struct.mlp_eps = self.input_norm.eps, self.mlp_norm.eps
        if self.head_norms:
            q, k = self.head_norms
            struct.q_norm, struct.k_norm = q.weight.data_ptr(), k.weight.data_ptr()
            struct.q_eps, struct.k_eps = q.eps, k.eps
        struct.qkv[:], struct.output, struct.gate_up[:], struct.down = (
            matrices[:3],
            matrices[3],
            matrices[4:6],
            matrices[6],
        )
        struct.modules[:] = [sites.index(name) for name in (*self.linears, *self.parts)]
        struct.cache = cache.layer(self.number).struct(heads)
        struct.options = OptionsStruct(self.scale, 0.0, self.window or 0, None)
        return struct


class Rows(NamedTuple):
    """Rows on their way, in fp32 and, where the next module multiplies it, in int8."""

    x: Tensor
    """[rows, width]"""
    q: Quantized | None = None


class Decoder:
    """Runs a base's layers for the runner; the sites act as they do in the hooks."""

    def __init__(self, base: BaseModel, kernels: Kernels, sites: Sites, cache: KVCache) -> None:
        model: Any = base.model
        self._kernels = kernels
        self._sites = sites
        self._head_dim = base.shape.head_dim
        self._rotary = model.model.rotary_emb
        windows = {call.layer: call.window for call in probe(model)}
        self._layers = [
            DecoderLayer.of(name, model.get_submodule(name), index, windows[index])
            for index, name in enumerate(base.shape.layers)
        ]
        self._norm = Norm.of("model.norm", model.model.norm)
        self._head = Linears.of("", model, base.shape.lm_head)
        inside = tuple(f"{name}." for name in base.shape.layers)
        self._inside = frozenset(
            name for name in base.shape.modules if name in base.shape.layers or name.startswith(inside)
        )
        self._parts = frozenset(name for layer in self._layers for name in layer.parts)
        self._native = self._parts.union(*(layer.linears for layer in self._layers))
        """Modules inside where one call of the kernels computes what they know of."""
        self._fronts = frozenset(name for layer in self._layers for name in (*layer.output.names, *layer.down.names))
        self._taps = frozenset((layer.parts[1], layer.mlp_norm.name) for layer in self._layers)
        found = (layer.struct(cache, sites) for layer in self._layers)
        structs = [struct for struct in found if struct is not None]
        whole = len(structs) == len(self._layers)
        self._structs = (DecoderLayerStruct * len(structs))(*structs) if whole else None
        """All layers for one call of the kernels, where they multiply in int8."""

    @classmethod
    def of(cls, base: BaseModel, sites: Sites, cache: KVCache) -> Self | None:
        """None where the base is not of these families or there are no kernels."""
        model: Any = base.model
        known = type(model).__name__ in MODELS and type(model).__module__.startswith("transformers.models.")
        if base.kernels is None or not known or getattr(model.config, "hidden_act", "") != "silu":
            return None
        positions = torch.zeros(1, 1, dtype=torch.long)
        cos, _ = model.model.rotary_emb(torch.zeros(1, 1, base.shape.hidden_size), position_ids=positions)
        return cls(base, base.kernels, sites, cache) if cos.shape[-1] == base.shape.head_dim else None

    def run(self, embedded: Tensor, positions: Tensor, attention_map: AttentionMap, sampled: Tensor) -> Tensor:
        """Logits of the sampled rows, [sampled, vocab], for rows [rows, hidden] at `positions` [rows]."""
        cos, sin = self._rotary(embedded.unsqueeze(0), position_ids=positions.unsqueeze(0))
        rotary = cos[0].float().contiguous(), sin[0].float().contiguous()
        h, delta = self._all_layers(embedded.contiguous(), attention_map, rotary)
        if not self._touched(self._norm.name):  # what is not sampled is needed no more
            h, delta = h[sampled], None if delta is None else delta[sampled]
            return self._linear(self._head, self._normed(self._norm, h, delta, self._head)[1])[0]
        _, rows = self._normed(self._norm, h, delta, self._head)
        return self._linear(self._head, Rows(rows.x[sampled]))[0]

    def _all_layers(
        self, h: Tensor, attention_map: AttentionMap, rotary: tuple[Tensor, Tensor]
    ) -> tuple[Tensor, Tensor | None]:
        """The residual behind the last layer, and what is still to be added to it."""
        chunks, delta = attention_map.chunks, None
        assert chunks is not None
        acting = self._sites.acting
        if self._structs and self._is_known(acting):
            parts = not self._parts.isdisjoint(acting.native)
            return self._kernels.layers(
                self._structs,
                h,
                rotary,
                attention_map.write,
                chunks,
                self._sites.segments,
                fronts=bool(acting.fronts),
                parts=parts,
            )
        for layer in self._layers:
            h, delta = self._layer(layer, h, delta, attention_map, rotary)
        return h, delta

    def _is_known(self, acting: Acting) -> bool:
        """Whether one call of the kernels computes all that acts inside the layers."""
        inside = self._inside
        return (
            inside.isdisjoint(acting.python)
            and acting.native & inside <= self._native
            and acting.fronts & inside <= self._fronts
            and acting.taps <= self._taps
        )

    def _layer(
        self,
        layer: DecoderLayer,
        h: Tensor,
        delta: Tensor | None,
        attention_map: AttentionMap,
        rotary: tuple[Tensor, Tensor],
    ) -> tuple[Tensor, Tensor | None]:
        """The residual behind a layer, and what is still to be added to it."""
        whole = self._touched(layer.name)
        own = h
        if whole:
            h, delta = h if delta is None else h + delta, None
            own = h = self._before(layer.name, h)

        def attention(rows: Rows) -> Tensor:
            return self._attention(layer, rows, attention_map, rotary)

        h, rows = self._normed(layer.input_norm, h, delta, layer.qkv)
        attention_name, mlp_name, _ = layer.parts
        attended = self._part(attention_name, layer.module.self_attn, rows, attention)
        h, rows = self._normed(layer.mlp_norm, h, attended, layer.gate_up)
        delta = self._part(mlp_name, layer.module.mlp, rows, lambda rows: self._mlp(layer, rows))
        if not whole:
            return h, delta
        return self._behind(layer.name, own, h + delta, layer.module), None

    def _attention(
        self, layer: DecoderLayer, rows: Rows, attention_map: AttentionMap, rotary: tuple[Tensor, Tensor]
    ) -> Tensor:
        heads = [y.view(y.shape[0], -1, self._head_dim) for y in self._linear(layer.qkv, rows)]
        for index, norm in enumerate(layer.head_norms):
            heads[index] = self._head_normed(norm, heads[index])
        q, k, v = heads
        out = attend_natively(attention_map, layer.number, q, k, v, layer.scale, window=layer.window, rotary=rotary)
        return self._linear(layer.output, Rows(out.flatten(1)))[0]

    def _mlp(self, layer: DecoderLayer, rows: Rows) -> Tensor:
        gate, up = self._linear(layer.gate_up, rows)
        return self._linear(layer.down, Rows(*self._kernels.silu_gate(gate, up, quantize=self._rounds(layer.down))))[0]

    def _normed(self, norm: Norm, h: Tensor, delta: Tensor | None, then: Linears) -> tuple[Tensor, Rows]:
        """h + delta, and its norm for the modules that read it."""
        if not self._touched(norm.name):
            h, x, q = self._kernels.add_norm(h, delta, norm.weight, norm.eps, quantize=self._rounds(then))
            return h, Rows(x, q)
        h = h if delta is None else h + delta
        own = self._before(norm.name, h)
        x = self._kernels.add_norm(own, None, norm.weight, norm.eps, quantize=False)[1]
        return h, Rows(self._behind(norm.name, own, x, norm.module))

    def _head_normed(self, norm: Norm, heads: Tensor) -> Tensor:
        """A norm over each head of [rows, heads, head_dim]."""
        touched = self._touched(norm.name)
        own = self._before(norm.name, heads) if touched else heads
        x = self._kernels.add_norm(own.flatten(0, 1), None, norm.weight, norm.eps, quantize=False)[1].view_as(heads)
        return self._behind(norm.name, own, x, norm.module).contiguous() if touched else x

    def _part(self, name: str, module: nn.Module, rows: Rows, compute: Callable[[Rows], Tensor]) -> Tensor:
        """A layer's attention or feed-forward part."""
        if not self._touched(name):
            return compute(rows)
        x = self._before(name, rows.x)
        return self._behind(name, x, compute(rows if x is rows.x else Rows(x)), module)

    def _linear(self, linears: Linears, rows: Rows) -> Sequence[Tensor]:
        """What modules that share an input make of it."""
        acting = self._sites.acting
        if acting.front.isdisjoint(linears.names):
            inputs = [rows.x] * len(linears.names)
            if linears.matrices:
                q = rows.q or self._kernels.quantize(rows.x)
                results = self._kernels.int8_matmul(q, linears.matrices)
            else:
                results = [module.forward(rows.x) for module in linears.modules]
        else:
            inputs = [self._before(name, rows.x) for name in linears.names]
            results = [module.forward(x) for module, x in zip(linears.modules, inputs, strict=True)]
        places = [place for place in zip(linears.names, inputs, results, strict=True) if place[0] in acting.native]
        if places:
            self._sites.update(places)
        if acting.behind.isdisjoint(linears.names):
            return results
        return [
            self._sites.others(name, x.unsqueeze(0), y.unsqueeze(0), module)[0] if name in acting.behind else y
            for name, x, y, module in zip(linears.names, inputs, results, linears.modules, strict=True)
        ]

    def _touched(self, name: str) -> bool:
        return name in self._sites.acting.touched

    def _rounds(self, linears: Linears) -> bool:
        """Whether all modules read the same int8 rows."""
        return linears.matrices is not None and self._sites.acting.front.isdisjoint(linears.names)

    def _before(self, name: str, x: Tensor) -> Tensor:
        own = x.unsqueeze(0)
        changed = self._sites.before(name, own)
        return x if changed is own else changed[0]

    def _behind(self, name: str, own: Tensor, y: Tensor, module: nn.Module) -> Tensor:
        return self._sites.behind(name, own.unsqueeze(0), y.unsqueeze(0), module)[0]
