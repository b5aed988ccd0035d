"""A model of what training keeps for the backward pass.

A decoder layer keeps for each row (one position of one example), in numbers of the compute dtype but
where told:

    norms          h each, fp32            the residual in front; as much again where the norm learns
    attention      4 a, and heads in fp32  queries, keys and values for all heads, the result; log-sums
                   n                       the mask, made anew by each layer over n positions
    feed-forward   3 i with a gate, else i what goes into the activation function and the product
    inputs         of linear modules with a site (or all), once for those that share theirs
    sites          what the layer that is trained there keeps beside its input (`site_memory`)

    h hidden   a heads x head_dim   i the width inside the feed-forward part

The loss keeps three fp32 tensors over the vocabulary: logits, their copy and its log-softmax; in the
backward pass the log-softmax and two gradients. With gradient checkpoints a layer keeps its input
only, and one layer at a time is computed again.

Sources: Korthikanti et al. 2022, "Reducing Activation Recomputation in Large Transformer Models"
(arXiv:2205.05198), section 4, counted anew for what the layers of transformers keep in eager mode;
fused attention keeps no scores (Dao et al. 2022, arXiv:2205.14135); checkpoints: Chen et al. 2016
(arXiv:1604.06174).

What is not covered: dropout in the base, activation functions of several operations (GPT-2's),
attention without a fused kernel, mixtures of experts, and what a small network that gives virtual tokens
keeps.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass

from adapterhub.base import EmptyBase
from adapterhub.estimate.site_memory import SiteMemory
from adapterhub.method import ModuleShape, Plan, Site

FP32 = 4
LOGIT_TENSORS = 3
"""Tensors over the vocabulary at a time."""


@dataclass(frozen=True)
class Batch:
    """The sizes of one optimizer step."""

    examples: int
    tokens: int
    """Of each example, prompt and response."""
    embedded: int = 0
    """Virtual embeddings in front of them: rows of every layer."""
    cached: int = 0
    """Virtual keys and values in front of them: attended to, and no rows."""

    @property
    def rows(self) -> int:
        return self.examples * (self.tokens + self.embedded)


@dataclass(frozen=True)
class Activations:
    """Bytes kept in one optimizer step."""

    layers: int
    """By all layers that a gradient passes, and in front of the head."""
    layer: int
    """By one layer, the largest."""
    checkpoints: int
    """By all layers where only their inputs are kept, and in front of the head."""
    logits: int
    """The loss's tensors over the vocabulary, where all tokens but one are of the response."""


def activations(base: EmptyBase, batch: Batch, plan: Plan | None, sites: Mapping[str, SiteMemory]) -> Activations:
    """Of a step that trains an adapter of `plan`, or every weight where there is none.

    `sites` tells by module what the plan's module sites keep.
    """
    shape = base.shape
    residual = batch.rows * shape.hidden_size
    by_layer = [_layer(base, batch, layer, sites, learns=plan is None) for layer in shape.layers]
    own = [0] * (len(by_layer) + 1)  # the last one outside all layers
    for name, kept in sites.items():
        own[_layer_index(name, shape.layers)] += kept.own
    front = residual * FP32 + own[-1]  # into the last norm
    return Activations(
        layers=sum(by_layer[0 if plan is None else _first_layer(base, plan) :]) + sum(own[:-1]) + front,
        layer=max(map(sum, zip(by_layer, own, strict=False))),
        checkpoints=len(by_layer) * residual * base.compute_dtype.itemsize + front,
        logits=LOGIT_TENSORS * FP32 * batch.examples * batch.tokens * shape.modules[shape.lm_head].out_features,
    )


def _first_layer(base: EmptyBase, plan: Plan) -> int:
    """The first layer that a gradient passes: those in front of every site keep nothing."""
    return min(_first_reached(base, site) for site in plan.sites if site.kind in ("module", "kv", "prompt"))


def _first_reached(base: EmptyBase, site: Site) -> int:
    kind = base.shape.modules[site.module].kind if site.kind == "module" else "embedding"
    if kind == "embedding":
        return 0
    return _layer_index(site.module, base.shape.layers) + (kind == "layer")  # behind the whole layer


def _layer_index(module: str, layers: tuple[str, ...]) -> int:
    """The number of the layer that a module lies in; how many there are where it lies in none."""
    inside = (index for index, layer in enumerate(layers) if f"{module}.".startswith(f"{layer}."))
    return next(inside, len(layers))


def _layer(base: EmptyBase, batch: Batch, layer: str, sites: Mapping[str, SiteMemory], *, learns: bool) -> int:
    """Bytes that one layer keeps beside what its sites do; `learns` where all its weights do."""
    itemsize = base.compute_dtype.itemsize
    inside = {name: module for name, module in base.shape.modules.items() if f"{name}.".startswith(f"{layer}.")}
    total = 0
    learning = inside.keys() if learns else {name for name in inside if name in sites and sites[name].keeps_input}
    for part in (name for name, module in inside.items() if module.kind in ("attention", "mlp")):
        linears = {
            name: module
            for name, module in inside.items()
            if name.startswith(f"{part}.") and module.kind in ("linear", "conv1d")
        }
        total += batch.rows * _inputs(linears, learning, itemsize)
        if inside[part].kind == "mlp":
            total += batch.rows * _feed_forward(linears) * itemsize
        else:
            total += _attention(base, batch)
    norms = sum(_normed(base, name) for name, module in inside.items() if module.kind == "norm")
    return total + batch.rows * norms * (FP32 + (itemsize if learns else 0))


def _normed(base: EmptyBase, norm: str) -> int:
    """Numbers for each row that a norm acts on: those of queries and keys act on each head by itself."""
    parent = base.shape.modules.get(norm.rpartition(".")[0])
    if parent is not None and parent.kind == "attention":
        return base.num_heads * base.shape.head_dim
    return base.shape.modules[norm].out_features


def _attention(base: EmptyBase, batch: Batch) -> int:
    """Bytes that fused attention keeps; a mask is there unless all examples are of one length."""
    width = base.num_heads * base.shape.head_dim
    attended = batch.tokens + batch.embedded + batch.cached
    numbers = batch.rows * 2 * width + batch.examples * attended * 2 * width + batch.rows * attended
    return numbers * base.compute_dtype.itemsize + batch.rows * base.num_heads * FP32


def _feed_forward(linears: Mapping[str, ModuleShape]) -> int:
    """Numbers for each row between a feed-forward part's first modules and its last."""
    if not linears:
        return 0
    *first, last = linears.values()
    into = sum(module.out_features for module in first)
    return into + (last.in_features if into > last.in_features else 0)


def _inputs(linears: Mapping[str, ModuleShape], learning: Collection[str], itemsize: int) -> int:
    """Bytes for each row of what goes into a part's modules that learn.

    The first ones share the part's input, the last has its own. Where the base computes in fewer bits
    than the adapter, PEFT's layers keep a copy in fp32 each.
    """
    widths = {name: module.in_features for name, module in linears.items() if name in learning}
    if itemsize < FP32:
        return sum(widths.values()) * FP32
    *first, last = linears or [""]
    shared = max((widths.get(name, 0) for name in first), default=0)
    return (shared + widths.get(last, 0)) * FP32
