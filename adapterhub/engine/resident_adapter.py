"""An adapter in memory, ready to run.

Nothing here looks at a value, so an adapter can be bound on the meta device too: that is how its
bytes are known before it exists.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple, Protocol

import torch
from torch import Tensor

from adapterhub.adapter import Adapter
from adapterhub.base import BaseModel
from adapterhub.errors import (
    InvalidInputError,
    PluginError,
    UnsupportedAdapterError,
)
from adapterhub.giving_way import give_way, in_pieces
from adapterhub.method import BaseShape, BaseWeights, Method, MethodConfig, Params, Plan, Site
from adapterhub.op import Bottleneck, Op, Scale
from adapterhub.ops import AdapterKernels, KernelOp, Update, Updates
from adapterhub.plugins import Methods, Plans, blamed_on, fit, refusing, understand

EXACT = (torch.float32, torch.float64)
LINEAR = ("linear", "conv1d")
"""Kinds of modules whose input is one row a position, which the kernels rely on."""


class Ground(Protocol):
    """What an adapter is bound to: a loaded base, or one without weights. All as in `BaseModel`."""

    @property
    def shape(self) -> BaseShape: ...

    @property
    def weights(self) -> BaseWeights: ...

    @property
    def device(self) -> torch.device: ...

    @property
    def compute_dtype(self) -> torch.dtype: ...

    @property
    def row_dtype(self) -> torch.dtype: ...

    @property
    def adapter_kernels(self) -> AdapterKernels | None: ...


class BoundSite(NamedTuple):
    """A module site with what its method bound there."""

    site: Site
    params: Params
    dtype: torch.dtype
    """What its rows are computed in."""
    op: Op | None = None
    """What computes them in place of the method's functions, where it has one."""
    update: Update | None = None
    """What the kernels do in place of both."""

    @property
    def is_plain(self) -> bool:
        """Whether the method's own functions run there."""
        return self.op is None and self.update is None

    def tensors(self) -> Iterator[Tensor]:
        """Everything it keeps; some may be views of the same memory."""
        yield from self.params.values()
        for each in (self.op, self.update):
            if each is not None:
                yield from each.tensors()


class Bound(NamedTuple):
    """All sites of one adapter, as in `ResidentAdapter`."""

    modules: Mapping[str, BoundSite]
    prompt: Tensor | None
    kv: Tensor | None
    nbytes: int


@dataclass(eq=False)
class ResidentAdapter:
    """An adapter placed on one base. Nothing is padded: its bytes are its own."""

    digest: str
    method: Method[Any]
    config: MethodConfig
    modules: Mapping[str, BoundSite]
    """By the module's name."""
    prompt: Tensor | None
    """Virtual embeddings, [virtual_tokens, hidden]."""
    kv: Tensor | None
    """Keys and values in front of the cache, [layers, 2, kv_heads, virtual_tokens, head_dim]."""
    virtual_tokens: int
    nbytes: int
    """Bytes of all its tensors, derived ones and the keys and values of its virtual tokens included."""
    slot: int = 0
    """Given by the pool; rows of a step are sorted by it."""
    running: int = 0
    """Requests that hold it."""
    kv_digest: str = ""
    """What keys and values depend on: the digest, or nothing when the adapter only acts on the head."""
    updates: Updates | None = None
    """What the kernels do for it; None where torch computes everything."""
    native: frozenset[str] = field(init=False)
    """Modules whose output `updates` computes."""
    fronts: frozenset[str] = field(init=False)
    """Modules whose input it computes."""
    taps: frozenset[tuple[str, str]] = field(init=False)
    """Modules with a site that reads another module's input, and those others."""
    native_taps: frozenset[tuple[str, str]] = field(init=False)
    """Those of them that `updates` computes."""
    hooked: frozenset[str] = field(init=False)
    """Modules that need the engine's hooks."""

    def __post_init__(self) -> None:
        taps = ((name, bound.site.tap) for name, bound in self.modules.items() if bound.site.tap)
        self.taps = frozenset(taps)
        self.hooked = frozenset(self.modules.keys() | {tap for _, tap in self.taps})
        native = {name: bound.update for name, bound in self.modules.items() if bound.update}
        self.fronts = frozenset(name for name, update in native.items() if update.front is not None)
        self.native = frozenset(native.keys() - self.fronts)
        self.native_taps = frozenset(pair for pair in self.taps if pair[0] in native)

    def first_row(self, prompt_ids: tuple[int, ...]) -> int:
        """The first position of a request that it changes, virtual tokens counted; beyond all where it changes none.

        Raises PluginError when the method does.
        """
        with blamed_on(self.method):
            starts = self.method.starts(self.config, prompt_ids)
        if starts is None:
            return sys.maxsize
        return self.virtual_tokens + starts if starts else 0


def prepare(
    adapter: Adapter,
    tensors: Mapping[str, Tensor],
    methods: Methods,
    base: BaseModel,
    plans: Plans | None = None,
) -> ResidentAdapter:
    """Check, bind and place an adapter's `tensors`, named as on disk, for a base. Runs on any thread.

    Raises IntegrityError when the adapter does not fit or cannot be served exactly,
    InvalidInputError when it has no digest, and PluginError when its method raises or gives what
    cannot be placed.
    """
    method, config, plan = fitted(adapter, methods, base, plans)
    give_way()
    with refusing(adapter):
        bound = bind_sites(method, config, plan, tensors, base)
    give_way()
    changes_kv = plan.virtual_tokens or any(module != base.shape.lm_head for module in bound.modules)
    return ResidentAdapter(
        digest=adapter.digest,
        method=method,
        config=config,
        modules=bound.modules,
        prompt=bound.prompt,
        kv=bound.kv,
        virtual_tokens=plan.virtual_tokens,
        nbytes=bound.nbytes,
        kv_digest=adapter.digest if changes_kv else "",
        updates=updates(bound.modules, base),
    )


class Fitted(NamedTuple):
    """What an adapter is, once it is known to fit a base."""

    method: Method[Any]
    config: MethodConfig
    plan: Plan


def fitted(adapter: Adapter, methods: Methods, base: BaseModel, plans: Plans | None = None) -> Fitted:
    """Raises as `prepare`; no tensor is looked at."""
    if not adapter.digest:
        raise InvalidInputError("adapter has no digest; publish it to a store and resolve it there", field="adapter")
    method, config = understand(adapter, methods)
    if base.quantization not in method.served_on:
        raise UnsupportedAdapterError(
            f"{adapter.name}: method {method.name!r} is served on bases held as "
            f"{', '.join(sorted(method.served_on))}, this one is {base.quantization}"
        )
    plan = fit(adapter, method, config, base.shape, base=base.record.id, plans=plans)
    adapter.check_base(base.record)
    return Fitted(method, config, plan)


def updates(modules: Mapping[str, BoundSite], base: BaseModel) -> Updates | None:
    """What the kernels compute of the sites, by their modules' places in the base's shape; None when it is nothing."""
    updates = {
        index: bound.update
        for index, name in enumerate(base.shape.modules)
        if (bound := modules.get(name)) and bound.update
    }
    return base.adapter_kernels.hold(updates, len(base.shape.modules)) if base.adapter_kernels and updates else None


def bind_sites(
    method: Method[Any], config: MethodConfig, plan: Plan, tensors: Mapping[str, Tensor], base: Ground
) -> Bound:
    """Bind and place `tensors`, named as on disk, at every site of `plan`.

    Raises PluginError when the method raises or gives what cannot be placed; errors of our tree pass.
    """
    if base.adapter_kernels and method.is_lowered:  # they compute in fp32, and what they do not compute is bound again
        bound = _bind(method, config, plan, tensors, base, torch.float32)
        if all(site.update for site in bound.modules.values()):
            return bound
    return _bind(method, config, plan, tensors, base, base.row_dtype)


def _bind(
    method: Method[Any],
    config: MethodConfig,
    plan: Plan,
    tensors: Mapping[str, Tensor],
    base: Ground,
    row_dtype: torch.dtype,
) -> Bound:
    """As `bind_sites`, for rows computed in `row_dtype`."""
    sites = bind_params(method, config, plan, tensors, base, row_dtype)
    give_way()
    ops = ops_of(method, config, sites.modules, base)
    give_way()
    modules = place(sites.modules, ops, base)
    give_way()
    held = [tensor for bound in modules.values() for tensor in bound.tensors()]
    held += [] if sites.prompt is None else [sites.prompt]
    return Bound(modules, sites.prompt, sites.kv, memory(held) + plan.virtual_tokens * _kv_bytes(base))


class BoundParams(NamedTuple):
    """What a method bound at its sites, before anything is chosen to compute them."""

    modules: Mapping[str, tuple[Site, Params]]
    """By the module's name."""
    prompt: Tensor | None
    kv: Tensor | None
    """As in `ResidentAdapter`."""


def bind_params(
    method: Method[Any],
    config: MethodConfig,
    plan: Plan,
    tensors: Mapping[str, Tensor],
    base: Ground,
    row_dtype: torch.dtype,
) -> BoundParams:
    """Raises as `bind_sites`."""
    bound_sites: dict[str, tuple[Site, Params]] = {}
    shared: Params = {}
    prompt = kv = None
    for site, params in in_pieces(_by_site(tensors, plan, base.device, row_dtype)):
        with blamed_on(method):
            bound = method.bind(config, site, {**shared, **params}, base.weights)
            if site.kind == "shared":
                shared = {name: _placed(tensor, site, base.device, row_dtype) for name, tensor in bound.items()}
            elif site.kind == "prompt":
                width = (plan.virtual_tokens, base.shape.hidden_size)
                prompt = _sized(method, "prompt", method.prompt(config, bound), width).to(base.compute_dtype)
            elif site.kind == "kv":
                heads, head_dim = base.shape.num_kv_heads, base.shape.head_dim
                size = (base.shape.num_layers, 2, heads, plan.virtual_tokens, head_dim)
                kv = _sized(method, "kv", method.kv(config, bound, base.shape), size).to(base.compute_dtype)
            else:
                bound_sites[site.module] = (site, bound)
    return BoundParams(bound_sites, prompt, kv)


def memory(tensors: Iterable[Tensor]) -> int:
    """Bytes that tensors keep in memory; what several of them are views of counts once."""
    storages = [tensor.untyped_storage() for tensor in tensors]
    # Told apart by their own address: that of the content is 0 on the meta device.
    return sum({storage._cdata: storage.nbytes() for storage in storages}.values())


def _kv_bytes(base: Ground) -> int:
    """Bytes of one position's keys and values in all layers."""
    shape = base.shape
    return shape.num_layers * 2 * shape.num_kv_heads * shape.head_dim * base.compute_dtype.itemsize


def ops_of(
    method: Method[Any], config: MethodConfig, sites: Mapping[str, tuple[Site, Params]], base: Ground
) -> Mapping[str, Op]:
    """The ops of the module sites that have one. Raises PluginError for one that does not fit its module."""
    with blamed_on(method):
        ops = method.ops(config, base.shape, sites, base.weights)
    for name, op in ops.items():
        module, tap = base.shape.modules[name], sites[name][0].tap
        width = base.shape.modules[tap].in_features if tap else module.in_features
        if misfit := op.misfit(width, module.out_features):
            raise PluginError(f"method {method.name!r}: lower at {name}: {misfit}")
    return ops


def place(sites: Mapping[str, tuple[Site, Params]], ops: Mapping[str, Op], base: Ground) -> dict[str, BoundSite]:
    """The module sites, ready to run: by the kernels, by an op, or by the method's own functions."""
    updates = _updates_of(ops, sites, base) if base.adapter_kernels else {}
    modules = {}
    for name, (site, params) in in_pieces(sites.items()):
        lowered = ops.get(name)
        if update := updates.get(name):
            modules[name] = BoundSite(site, {}, torch.float32, update=update)
        elif lowered is None or _scales_input(lowered):  # `pre` scales it, so that the module need not run twice
            modules[name] = BoundSite(site, params, _dtype(params.values(), base))
        else:
            modules[name] = BoundSite(site, {}, _dtype(lowered.tensors(), base), lowered)
    return modules


def _updates_of(ops: Mapping[str, Op], sites: Mapping[str, tuple[Site, Params]], base: Ground) -> Mapping[str, Update]:
    """What the kernels compute of the ops: those in numbers of a base's own width, of whole rows."""
    assert base.adapter_kernels is not None
    known: dict[str, KernelOp] = {}
    for name, op in ops.items():
        exact = all(tensor.dtype in (torch.float32, base.row_dtype) for tensor in op.tensors())
        if exact and isinstance(op, KernelOp) and _is_known_place(op, name, sites[name][0].tap, base.shape):
            known[name] = op
    return base.adapter_kernels.read(known)


def _scales_input(op: Op) -> bool:
    return isinstance(op, Scale) and op.into is not None


def _is_known_place(op: KernelOp, name: str, tap: str, shape: BaseShape) -> bool:
    """Whether a module's rows are one a position, and what the op reads is its input or the residual in front of it."""
    if shape.modules[name].kind in LINEAR:
        return not tap  # others' ops there read its input
    beside = (name, tap) in zip(shape.mlp_outputs, shape.mlp_inputs, strict=True)
    behind = name in (*shape.attention_outputs, *shape.mlp_outputs, *shape.layers)
    return isinstance(op, Bottleneck) and (beside or (behind and op.reads_output))


def _dtype(tensors: Iterable[Tensor], base: Ground) -> torch.dtype:
    """What a site's rows are computed in: as its first tensor of floating numbers."""
    return next((tensor.dtype for tensor in tensors if tensor.is_floating_point()), base.compute_dtype)


def _sized(method: Method[Any], function: str, tensor: Tensor, size: tuple[int, ...]) -> Tensor:
    """A plugin's tensor as it is. Raises PluginError when it would not fit the cache or the batch."""
    if tensor.shape != size:
        raise PluginError(f"method {method.name!r}: {function} gave {tuple(tensor.shape)}; need {size}")
    return tensor


def _by_site(
    tensors: Mapping[str, Tensor], plan: Plan, device: torch.device, row_dtype: torch.dtype
) -> list[tuple[Site, Params]]:
    """The adapter's tensors, by the plan's sites.

    Tensors saved in 16 bits are computed in fp32, as PEFT does when it loads them
    (`autocast_adapter_dtype`), or in `row_dtype` where that is wider. What replaces a whole
    module stays as narrow as it can: nothing behind it rounds.
    """
    by_site: dict[int, dict[str, Tensor]] = {id(site): {} for site in plan.sites}
    for key, tensor in in_pieces(tensors.items()):
        site, param = plan.tensor_keys[key]
        by_site[id(site)][param] = _placed(tensor, site, device, row_dtype)
    return [(site, by_site[id(site)]) for site in plan.sites]


def _placed(tensor: Tensor, site: Site, device: torch.device, row_dtype: torch.dtype) -> Tensor:
    """A site's tensor on the base's device, in the dtype it is computed in; whole numbers stay what they are."""
    if not tensor.is_floating_point():
        return tensor.to(device)
    dtype = tensor.dtype if tensor.dtype in EXACT else torch.float32
    if not site.replaces:
        dtype = torch.promote_types(dtype, row_dtype)
    return tensor.to(device=device, dtype=dtype)
