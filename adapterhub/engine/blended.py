"""A blend in memory: at each module, the low-rank updates of its adapters as one.

y + sum_i w_i (s_i * y + B_i A_i x + t_i - y)  =  s * y + B A x + t

s = 1 + sum_i w_i (s_i - 1)     A = rows of A_1, A_2, ..     B = columns of w_1 B_1, w_2 B_2, ..     t = sum_i w_i t_i
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from functools import reduce

import torch
from torch import Tensor

from adapterhub.base import BaseModel
from adapterhub.engine.blend import BLEND, Blend, Servable
from adapterhub.engine.resident_adapter import ResidentAdapter, bound_site, memory, prepare, updates
from adapterhub.errors import UnsupportedAdapterError
from adapterhub.method import BaseShape, Method, MethodConfig, Site
from adapterhub.op import LowRank
from adapterhub.plugins import Methods


class Blended(Method[MethodConfig]):
    """Stands where an adapter's method does; all it is asked for is where the adapters begin to act."""

    name = BLEND
    peft_type = ""
    Config = MethodConfig

    def __init__(self, members: Sequence[ResidentAdapter]) -> None:
        self._acts = [(member.digest, member.method, member.config) for member in members]
        self.starts(MethodConfig(), ())

    def sites(self, config: MethodConfig, shape: BaseShape) -> list[Site]:
        raise NotImplementedError("a blend's sites are those of its adapters")

    def key(self, site: Site, param: str) -> str:
        raise NotImplementedError("a blend has no tensors on disk")

    def starts(self, config: MethodConfig, prompt: Sequence[int]) -> int:
        """Raises UnsupportedAdapterError for an adapter that leaves rows of the prompt to the base."""
        for digest, method, own in self._acts:
            if method.starts(own, prompt) != 0:
                raise UnsupportedAdapterError(
                    f"adapter {digest} does not act from the first token on (activated LoRA), and cannot be blended"
                )
        return 0


def make_resident(
    servable: Servable, tensors: Sequence[Mapping[str, Tensor]], methods: Methods, base: BaseModel
) -> ResidentAdapter:
    """An adapter or a blend, from the tensors of each of its `parts`. Raises as `prepare` and `prepare_blend`."""
    if isinstance(servable, Blend):
        return prepare_blend(servable, tensors, methods, base)
    (own,) = tensors
    return prepare(servable, own, methods, base)


def prepare_blend(
    blend: Blend, tensors: Sequence[Mapping[str, Tensor]], methods: Methods, base: BaseModel
) -> ResidentAdapter:
    """As `prepare`, of a blend with the tensors of each of its adapters, in order.

    Raises UnsupportedAdapterError for an adapter that is no low-rank update at some site, and as `prepare`.
    """
    members = [prepare(adapter, own, methods, base) for adapter, own in zip(blend.adapters, tensors, strict=True)]
    found: dict[str, list[tuple[LowRank, float]]] = {}
    for member, share in zip(members, blend.shares, strict=True):
        for name, op in _ops(member, methods).items():
            found.setdefault(name, []).append((op, share.weight))
    modules = {
        name: bound_site(Site("module", {}, module=name), {}, summed(shares), base) for name, shares in found.items()
    }
    changes_kv = any(name != base.shape.lm_head for name in modules)
    return ResidentAdapter(
        digest=blend.digest,
        method=Blended(members),
        config=MethodConfig(),
        modules=modules,
        prompt=None,
        kv=None,
        virtual_tokens=0,
        nbytes=memory(tensor for bound in modules.values() for tensor in bound.tensors()),
        kv_digest=blend.digest if changes_kv else "",
        updates=updates(modules, base) if base.kernels else None,
    )


def _ops(member: ResidentAdapter, methods: Methods) -> Mapping[str, LowRank]:
    """An adapter's updates by module. Raises UnsupportedAdapterError when it is more than these."""
    problem = ""
    if member.virtual_tokens:
        problem = "acts by virtual tokens"
    elif type(member.method).pre is not Method.pre:
        problem = "changes what goes into modules"
    ops = {name: bound.op for name, bound in member.modules.items() if isinstance(bound.op, LowRank)}
    for name, bound in member.modules.items():
        if name not in ops or bound.site.tap:
            problem = problem or f"is no low-rank update at {name}"
    if problem:
        accepted = ", ".join(name for name, method in sorted(methods.by_name.items()) if method.is_lowered)
        raise UnsupportedAdapterError(
            f"adapter {member.digest} of method {member.method.name!r} cannot be blended: it {problem} "
            f"(methods whose adapters can: {accepted})"
        )
    return ops


def summed(shares: Sequence[tuple[LowRank, float]]) -> LowRank:
    """y + sum_i w_i (op_i(y) - y) as one op, from the ops and their weights."""
    dtype = reduce(torch.promote_types, (op.a.dtype for op, _ in shares))
    scales = [weight * (op.scale.double() - 1) for op, weight in shares if op.scale is not None]
    shifts = [weight * op.shift.double() for op, weight in shares if op.shift is not None]
    return LowRank(
        torch.cat([op.a.to(dtype) for op, _ in shares]),
        torch.cat([(weight * op.b.double()).to(dtype) for op, weight in shares], dim=1),
        scale=(1 + _added(scales)).to(dtype) if scales else None,
        shift=_added(shifts).to(dtype) if shifts else None,
    )


def _added(tensors: Iterable[Tensor]) -> Tensor:
    return reduce(torch.add, tensors)
