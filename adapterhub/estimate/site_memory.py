"""What a site keeps for the backward pass, asked of autograd on the meta device."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, NamedTuple
from weakref import WeakSet

import torch
from torch import Tensor, nn

from adapterhub.base import EmptyBase
from adapterhub.method import Method, MethodConfig, Params, Plan, Site
from adapterhub.plugins import blamed_on
from adapterhub.train.choice import Choice

LEAVES = ("linear", "conv1d", "embedding")
"""Kinds of modules that can run by themselves."""


class SiteMemory(NamedTuple):
    """What one module site keeps of a step's rows."""

    keeps_input: bool
    """Whether the module's input is among it, which modules that share an input keep once."""
    own: int
    """Bytes of all else."""


def site_memory(
    choice: Choice, plan: Plan, site: Site, base: EmptyBase, rows: int, layer: nn.Module | None
) -> SiteMemory:
    """Of `rows` rows that pass `layer`, the site's module with the adapter that is trained on it.

    Where there is none, or where it asks for values, the method's own mathematics stands for it,
    without `bind`. Raises PluginError when that raises.
    """
    tap = base.shape.modules[site.tap or site.module]
    x = torch.empty(1, rows, dtype=torch.long, device="meta")
    if tap.kind != "embedding":
        x = _learning(torch.empty(1, rows, tap.in_features, device="meta"))
    if layer is not None and tap.kind in LEAVES:
        try:
            return _kept(lambda: layer(x), x, (*layer.parameters(), *layer.buffers()))
        except Exception:  # noqa: BLE001, S110  PEFT's layers were never meant to run without values
            pass
    with blamed_on(choice.method):
        return _of_method(choice.method, choice.options, plan, site, base, x)


def _of_method(
    method: Method[Any], config: MethodConfig, plan: Plan, site: Site, base: EmptyBase, x: Tensor
) -> SiteMemory:
    bound: Params = {}
    for one in plan.sites:  # the shared one is the first
        if one.kind == "shared" or one is site:
            bound = method.bind(config, one, {**bound, **_fresh(one)}, base.weights)
    p = {name: _learning(tensor.to("meta")) for name, tensor in bound.items()}
    rows = x[0]
    y = _learning(torch.empty(len(rows), base.shape.modules[site.module].out_features, device="meta"))

    def compute() -> list[Tensor]:
        if site.replaces:
            return [method.replace(config, p, rows)]
        before = [] if site.tap else [method.pre(config, p, rows)]
        return [*before, method.post(config, p, rows, y)]

    return _kept(compute, x, p.values())


def _fresh(site: Site) -> Params:
    needed = {name: param for name, param in site.params.items() if not param.optional}
    return {name: torch.empty(param.shape, device="meta") for name, param in needed.items()}


class _Saved:
    """A tensor that autograd keeps, for as long as it does."""

    def __init__(self, tensor: Tensor) -> None:
        self.tensor = tensor


def _kept(compute: Callable[[], object], x: Tensor, but: Iterable[Tensor]) -> SiteMemory:
    """What the graph of `compute`'s result keeps, without the tensors in `but`, which are there anyway."""
    saved: WeakSet[_Saved] = WeakSet()

    def keep(tensor: Tensor) -> _Saved:
        held = _Saved(tensor)
        saved.add(held)
        return held

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda held: held.tensor):
        result = compute()
    sizes = {_storage(held.tensor): held.tensor.untyped_storage().nbytes() for held in saved}
    del result
    for tensor in but:
        sizes.pop(_storage(tensor), None)
    keeps_input = sizes.pop(_storage(x), None) is not None
    return SiteMemory(keeps_input, sum(sizes.values()))


def _learning(tensor: Tensor) -> Tensor:
    return tensor.detach().requires_grad_(tensor.is_floating_point())


def _storage(tensor: Tensor) -> int:
    return int(tensor.untyped_storage()._cdata)
