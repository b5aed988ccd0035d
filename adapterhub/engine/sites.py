"""The engine's hooks on the base's modules: where adapters act on their rows.

The base matmul runs once for all rows; then each adapter's segment gets its own mathematics. The
hooks never rename or replace a module, and a step without adapters leaves them at once.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from adapterhub.base.site_io import input_of, output_of, with_input, with_output
from adapterhub.engine.resident_adapter import BoundSite, ResidentAdapter
from adapterhub.engine.routing import Routing, Segment
from adapterhub.errors import PluginError
from adapterhub.method import Method


class Sites:
    """Owns the hooks. A step runs between `begin` and `end`."""

    def __init__(self, model: nn.Module, lm_head: str) -> None:
        self._model = model
        self._lm_head = lm_head
        self._hooks: dict[str, list[Any]] = {}
        self._routing = Routing()
        self._inputs: dict[str, Tensor] = {}
        """What the step's tapped modules were called with."""
        self._tapped: frozenset[str] = frozenset()

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

    def begin(self, routing: Routing) -> None:
        self._routing = routing
        self._tapped = frozenset().union(*(segment.adapter.taps for segment in routing.rows))

    def end(self) -> None:
        self._routing = Routing()
        self._tapped = frozenset()
        self._inputs.clear()

    def _acting(self, name: str) -> Iterator[tuple[Segment, BoundSite]]:
        routing = self._routing
        for segment in routing.head if name == self._lm_head else routing.rows:
            bound = segment.adapter.modules.get(name)
            if bound is not None and segment.adapter.slot not in routing.failed:
                yield segment, bound

    def _pre(self, name: str, module: nn.Module, args: Any, kwargs: Any) -> tuple[Any, Any] | None:
        if not self._routing.rows:
            return None
        if name in self._tapped:
            self._inputs[name] = input_of(args, kwargs)
        acting = [item for item in self._acting(name) if _changes_input(item[0].adapter)]
        if not acting:
            return None
        x = input_of(args, kwargs).clone()  # the same tensor may feed other modules
        for segment, bound in acting:
            adapter, rows = segment.adapter, _rows(x, segment)
            self._compute(
                adapter, rows, partial(adapter.method.pre, adapter.config, bound.params, _cast(rows, bound.dtype))
            )
        return with_input(args, kwargs, x)

    def _post(self, name: str, module: nn.Module, args: Any, kwargs: Any, output: Any) -> Any:
        acting = list(self._acting(name))
        if not acting:
            return None
        own, y = input_of(args, kwargs), output_of(output)
        if y.data_ptr() == own.data_ptr():  # a module that passes its input through
            y = y.clone()
        for segment, bound in acting:
            rows = _rows(y, segment)
            self._compute(segment.adapter, rows, partial(self._output, segment, bound, own, rows, module))
        return with_output(output, y)

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
