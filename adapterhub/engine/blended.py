"""A blend in memory: at each module, the low-rank updates of its adapters as one.

y + sum_i w_i (s_i * y + B_i A_i x + t_i - y)  =  s * y + B A x + t

s = 1 + sum_i w_i (s_i - 1)     A = rows of A_1, A_2, ..     B = columns of w_1 B_1, w_2 B_2, ..     t = sum_i w_i t_i
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from functools import reduce

import torch
from torch import Tensor

from adapterhub.adapter import Adapter
from adapterhub.base import BaseModel
from adapterhub.engine.blend import BLEND, Blend, Servable
from adapterhub.engine.resident_adapter import (
    Fitted,
    ResidentAdapter,
    bind_params,
    fitted,
    memory,
    ops_of,
    place,
    prepare,
    updates,
)
from adapterhub.errors import UnsupportedAdapterError
from adapterhub.method import BaseShape, Method, MethodConfig, Params, Site
from adapterhub.op import LowRank
from adapterhub.plugins import Methods, Plans, refusing


class Blended(Method[MethodConfig]):
    """Stands where an adapter's method does; all it is asked for is where the adapters begin to act."""

    name = BLEND
    peft_type = ""
    Config = MethodConfig

    def __init__(self, blend: Blend, members: Sequence[Fitted]) -> None:
        self._acts = [(adapter.digest, *member) for adapter, member in zip(blend.adapters, members, strict=True)]
        self.starts(MethodConfig(), ())

    # The two that a method must have are called where an adapter's files are read, which a blend has none of.

    def sites(self, config: MethodConfig, shape: BaseShape) -> list[Site]:
        raise NotImplementedError("a blend's sites are those of its adapters")

    def key(self, site: Site, param: str) -> str:
        raise NotImplementedError("a blend has no tensors on disk")

    def starts(self, config: MethodConfig, prompt: Sequence[int]) -> int:
        """Raises UnsupportedAdapterError for an adapter that leaves rows of the prompt to the base."""
        for digest, method, own, _ in self._acts:
            if method.starts(own, prompt) != 0:
                raise UnsupportedAdapterError(
                    f"adapter {digest} does not act from the first token on (activated LoRA), and cannot be blended"
                )
        return 0


def make_resident(
    servable: Servable,
    tensors: Sequence[Mapping[str, Tensor]],
    methods: Methods,
    base: BaseModel,
    plans: Plans | None = None,
) -> ResidentAdapter:
    """An adapter or a blend, from the tensors of each of its `parts`. Raises as `prepare` and `prepare_blend`."""
    if isinstance(servable, Blend):
        return prepare_blend(servable, tensors, methods, base, plans)
    (own,) = tensors
    return prepare(servable, own, methods, base, plans)


def prepare_blend(
    blend: Blend,
    tensors: Sequence[Mapping[str, Tensor]],
    methods: Methods,
    base: BaseModel,
    plans: Plans | None = None,
) -> ResidentAdapter:
    """As `prepare`, of a blend with the tensors of each of its adapters, in order.

    Raises UnsupportedAdapterError for an adapter that is no low-rank update at some site, and as `prepare`.
    """
    members = [fitted(adapter, methods, base, plans) for adapter in blend.adapters]
    # As of adapters: the kernels compute in fp32, and where they do not, rows are as wide as the base's.
    for dtype in (torch.float32, base.row_dtype) if base.adapter_kernels else (base.row_dtype,):
        found: dict[str, list[tuple[LowRank, float]]] = {}
        for member, share, own in zip(members, blend.shares, tensors, strict=True):
            for name, op in _ops(member, share.adapter, own, base, dtype).items():
                found.setdefault(name, []).append((op, share.weight))
        sites: dict[str, tuple[Site, Params]] = {name: (Site("module", {}, module=name), {}) for name in found}
        modules = place(sites, {name: summed(shares) for name, shares in found.items()}, base)
        if all(bound.update for bound in modules.values()):
            break
    changes_kv = any(name != base.shape.lm_head for name in modules)
    return ResidentAdapter(
        digest=blend.digest,
        method=Blended(blend, members),
        config=MethodConfig(),
        modules=modules,
        prompt=None,
        kv=None,
        virtual_tokens=0,
        nbytes=memory(tensor for bound in modules.values() for tensor in bound.tensors()),
        kv_digest=blend.digest if changes_kv else "",
        updates=updates(modules, base),
    )


def _ops(
    member: Fitted,
    adapter: Adapter,
    tensors: Mapping[str, Tensor],
    base: BaseModel,
    row_dtype: torch.dtype,
) -> Mapping[str, LowRank]:
    """An adapter's updates by module. Raises UnsupportedAdapterError when it is more than these, and as `prepare`."""
    with refusing(adapter):
        sites = bind_params(*member, tensors, base, row_dtype).modules
        lowered = ops_of(member.method, member.config, sites, base)
    problem = ""
    if member.plan.virtual_tokens:
        problem = "acts by virtual tokens"
    elif type(member.method).pre is not Method.pre:
        problem = "changes what goes into modules"
    ops = {name: op for name, op in lowered.items() if isinstance(op, LowRank)}
    for name, (site, _) in sites.items():
        if name not in ops or site.tap:
            problem = problem or f"is no low-rank update at {name}"
    if problem:
        raise UnsupportedAdapterError(
            f"adapter {adapter.digest} of method {member.method.name!r} cannot be blended: it {problem} "
            "(accepted: adapters that are a low-rank update at each of their modules, as of LoRA and AdaLoRA)"
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
