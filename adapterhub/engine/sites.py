"""Where adapters act on their rows: in front of the base's modules and behind them.

The base matmul runs once for all rows; then each adapter's segment gets its own mathematics. Where there are
kernels, one call of theirs computes the ops that they know for all segments. Modules that transformers calls are
hooked, never renamed or replaced; a step without adapters leaves the hooks at once.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from adapterhub.base.site_io import input_of, output_of, with_input, with_output
from adapterhub.engine.resident_adapter import BoundSite, ResidentAdapter
from adapterhub.engine.routing import Routing, Segment
from adapterhub.errors import PluginError
from adapterhub.method import BaseShape, Method
from adapterhub.ops import AdapterKernels, Run


class Acting(NamedTuple):
    """What a step's adapters do, by module."""

    adapters: tuple[str, ...]
    """Digests of those adapters."""
    native: frozenset[str] = frozenset()
    """Modules whose output the kernels change."""
    fronts: frozenset[str] = frozenset()
    """Modules whose input the kernels change."""
    behind: frozenset[str] = frozenset()
    """Modules whose output another function of an adapter changes."""
    front: frozenset[str] = frozenset()
    """Modules whose input is changed, or read elsewhere."""
    taps: frozenset[tuple[str, str]] = frozenset()
    """Modules with a site that reads another module's input, and those others."""
    native_taps: frozenset[tuple[str, str]] = frozenset()
    """Those of them that the kernels compute."""

    tapped: frozenset[str] = frozenset()
    """Modules whose input is read elsewhere."""
    touched: frozenset[str] = frozenset()
    """All of these."""
    python: frozenset[str] = frozenset()
    """Modules where a method's own functions run."""

    @classmethod
    def of(cls, adapters: Sequence[ResidentAdapter]) -> Acting:
        native = frozenset().union(*(adapter.native for adapter in adapters))
        fronts = frozenset().union(*(adapter.fronts for adapter in adapters))
        behind = frozenset().union(*(adapter.modules.keys() - adapter.native - adapter.fronts for adapter in adapters))
        taps = frozenset().union(*(adapter.taps for adapter in adapters))
        native_taps = frozenset().union(*(adapter.native_taps for adapter in adapters))
        own = frozenset().union(*(_own_inputs(adapter) for adapter in adapters))
        tapped = frozenset(tap for _, tap in taps)
        front = fronts | own | tapped
        digests = tuple(adapter.digest for adapter in adapters)
        return cls(
            digests, native, fronts, behind, front, taps, native_taps, tapped, native | behind | front, behind | own
        )


class Sites:
    """Owns the hooks. A step runs between `begin` and `end`."""

    def __init__(self, model: nn.Module, shape: BaseShape, kernels: AdapterKernels | None) -> None:
        self._model = model
        self._lm_head = shape.lm_head
        self._index = {name: index for index, name in enumerate(shape.modules)}
        self._kernels = kernels
        self._hooks: dict[str, list[Any]] = {}
        self._inputs: dict[str, Tensor] = {}
        """What the step's tapped modules were called with."""
        self._routing = Routing()
        self._rows: Any = None
        self._head: Any = None
        """Of the step, as the kernels take them: the rows of adapters that they know, and those that reach the head."""
        self._last = Acting(())
        self.acting = Acting(())
        """Of the step."""

    def attach(self, modules: Iterable[str]) -> None:
        """Hook the modules that are not hooked yet. Not during a step."""
        for name in modules:
            if name not in self._hooks:
                module = self._model.get_submodule(name)
                self._hooks[name] = [
                    module.register_forward_pre_hook(partial(self._pre, name), with_kwargs=True),
                    module.register_forward_hook(partial(self._post, name), with_kwargs=True),
                ]

    def detach(self) -> None:
        """Remove every hook."""
        for hooks in self._hooks.values():
            for hook in hooks:
                hook.remove()
        self._hooks.clear()

    def begin(self, routing: Routing, segments: Any = None) -> None:
        """`segments`, where given, are what the kernels take in place of the step's own, for the head as well."""
        self._routing = routing
        self.acting = self.acting_of(routing)
        if segments is not None:
            self._rows = self._head = segments
        elif self._kernels:
            self._rows, self._head = (self._kernels.segments(_native(rows)) for rows in (routing.rows, routing.head))

    def acting_of(self, routing: Routing) -> Acting:
        """What a step's adapters do."""
        adapters = {segment.adapter.digest: segment.adapter for segment in (*routing.rows, *routing.head)}
        if tuple(adapters) != self._last.adapters:
            self._last = Acting.of(tuple(adapters.values()))
        return self._last

    def segments_of(self, routing: Routing) -> Any:
        """A step's rows with adapters that the kernels know, as they take them."""
        assert self._kernels is not None
        return self._kernels.segments(_native(routing.rows))

    @property
    def num_modules(self) -> int:
        """Modules that updates may be at."""
        return len(self._index)

    @property
    def segments(self) -> Any:
        """The step's rows with adapters that the kernels know, as they take them."""
        return self._rows

    def index(self, name: str) -> int:
        """A module's place among the updates."""
        return self._index[name]

    def end(self) -> None:
        self._routing = Routing()
        self._rows = self._head = None
        self.acting = Acting(())
        self._inputs.clear()

    def before(self, name: str, x: Tensor) -> Tensor:
        """What a module gets for `x` [1, rows, in], which is not changed."""
        if name in self.acting.tapped:
            self._inputs[name] = x
        acting = [item for item in self._of(name) if item[1].is_plain and _changes_input(item[0].adapter)]
        if not acting and name not in self.acting.fronts:
            return x
        x = x.clone(memory_format=torch.contiguous_format)  # the same tensor may feed other modules
        if self._kernels and name in self.acting.fronts:
            self._kernels.scale_rows_(self._index[name], x, self._segments_at(name))
        for segment, bound in acting:
            adapter, rows = segment.adapter, _rows(x, segment)
            self._compute(
                adapter, rows, partial(adapter.method.pre, adapter.config, bound.params, _cast(rows, bound.dtype))
            )
        return x

    def behind(self, name: str, own: Tensor, y: Tensor, module: nn.Module) -> Tensor:
        """What comes out of a module that made `y` [1, rows, out] of `own`; `y` may be overwritten."""
        if name in self.acting.native:
            if y.data_ptr() == own.data_ptr():  # a module that passes its input through
                y = y.clone()
            y = y.contiguous()
            self.update(((name, own.contiguous(), y),))
        return self.others(name, own, y, module) if name in self.acting.behind else y

    def others(self, name: str, own: Tensor, y: Tensor, module: nn.Module) -> Tensor:
        """As `behind`, without what the kernels compute."""
        if y.data_ptr() == own.data_ptr():  # a module that passes its input through
            y = y.clone()
        for segment, bound in self._of(name):
            if not bound.update:
                rows = _rows(y, segment)
                self._compute(segment.adapter, rows, partial(self._output, segment, bound, own, rows, module))
        return y

    def update(self, places: Sequence[tuple[str, Tensor, Tensor]]) -> None:
        """What the kernels do behind some modules: each one's name, input and output, which is overwritten."""
        assert self._kernels is not None
        read = [(self._index[name], self._read(name, x), y) for name, x, y in places]
        self._kernels.update_(read, self._segments_at(places[0][0]))

    def _read(self, name: str, own: Tensor) -> Tensor:
        """What updates at a module read: the input of the one that it taps, or its own."""
        for module, tap in self.acting.native_taps:
            if module == name:
                return self._inputs[tap].contiguous()
        return own

    def _segments_at(self, name: str) -> Any:
        return self._head if name == self._lm_head else self._rows

    def _of(self, name: str) -> Iterator[tuple[Segment, BoundSite]]:
        """The segments that have a site at a module."""
        routing = self._routing
        for segment in routing.head if name == self._lm_head else routing.rows:
            bound = segment.adapter.modules.get(name)
            if bound is not None and segment.adapter.slot not in routing.failed:
                yield segment, bound

    def _pre(self, name: str, module: nn.Module, args: Any, kwargs: Any) -> tuple[Any, Any] | None:
        if name not in self.acting.front:
            return None
        own = input_of(args, kwargs)
        x = self.before(name, own)
        return None if x is own else with_input(args, kwargs, x)

    def _post(self, name: str, module: nn.Module, args: Any, kwargs: Any, output: Any) -> Any:
        if name not in self.acting.native and name not in self.acting.behind:
            return None
        return with_output(output, self.behind(name, input_of(args, kwargs), output_of(output), module))

    def _output(self, segment: Segment, bound: BoundSite, own: Tensor, y: Tensor, module: nn.Module) -> Tensor:
        """What the segment's method makes of its rows behind a module that was called with `own`."""
        site, adapter = bound.site, segment.adapter
        x = self._inputs.get(site.tap) if site.tap else own
        if x is None or x.shape[1] != own.shape[1]:
            raise PluginError(f"the rows of {site.tap} are not those of {site.module} in the same step")
        x = _cast(_rows(x, segment), bound.dtype)
        if site.replaces:
            return adapter.method.replace(adapter.config, bound.params, x)
        if bound.op is not None:
            # in place, where y is of that dtype
            return bound.op.apply_(x, y.to(bound.dtype), partial(_forward, module, own.dtype))
        return adapter.method.post(adapter.config, bound.params, x, y.to(bound.dtype))

    def _compute(self, adapter: ResidentAdapter, rows: Tensor, compute: Callable[[], Tensor]) -> None:
        """Replace `rows` by what a method computes; a method that raises ends only its own requests."""
        try:
            result = compute()
            if result.shape != rows.shape:
                raise PluginError(f"gave {tuple(result.shape)} for rows of {tuple(rows.shape)}")
            if result is not rows:
                rows.copy_(result)
        except Exception as error:  # noqa: BLE001  a plugin may raise anything; the step goes on without it
            self._routing.failed[adapter.slot] = error


def _native(segments: Sequence[Segment]) -> list[Run]:
    """The segments of adapters that the kernels know."""
    return [(segment.adapter.updates, segment.start, segment.stop) for segment in segments if segment.adapter.updates]


def _rows(x: Tensor, segment: Segment) -> Tensor:
    """The segment's rows of a packed batch `[1, rows, ...]`: a view `[n, ...]`."""
    return x[0, segment.start : segment.stop]


def _forward(module: nn.Module, dtype: torch.dtype, rows: Tensor) -> Tensor:
    """A base's module on rows `[n, in]` without its hooks, in the dtype of the rows."""
    result: Tensor = module.forward(rows.to(dtype).unsqueeze(0))
    return result[0].to(rows.dtype)


def _cast(rows: Tensor, dtype: torch.dtype) -> Tensor:
    """Rows as a method computes with them; the token ids of an embedding stay what they are."""
    return rows.to(dtype) if rows.is_floating_point() else rows


def _changes_input(adapter: ResidentAdapter) -> bool:
    return type(adapter.method).pre is not Method.pre


def _own_inputs(adapter: ResidentAdapter) -> frozenset[str]:
    """Modules whose input a method's own `pre` may change, or one of its functions reads from elsewhere."""
    taps = frozenset(tap for name, tap in adapter.taps if name not in adapter.native)
    if not _changes_input(adapter):
        return taps
    return taps | {name for name, bound in adapter.modules.items() if bound.is_plain}
