"""The engine's hooks on the base's modules: where adapters act on their rows.

The base matmul runs once for all rows; then each adapter's segment gets its own mathematics. The
hooks never rename or replace a module, and a step without adapters leaves them at once.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from functools import partial
from typing import Any

from torch import Tensor, nn

from adapterhub.base.site_io import input_of, output_of, with_input, with_output
from adapterhub.engine.adapter_pool import ResidentAdapter
from adapterhub.engine.routing import Routing, Segment
from adapterhub.errors import PluginError
from adapterhub.method import Method, Params


class Sites:
    """Owns the hooks. `routing` is set by the runner for the length of a step."""

    def __init__(self, model: nn.Module, lm_head: str) -> None:
        self.routing = Routing()
        self._model = model
        self._lm_head = lm_head
        self._hooks: dict[str, list[Any]] = {}

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

    def _acting(self, name: str) -> Iterator[tuple[Segment, Params]]:
        for segment in self.routing.head if name == self._lm_head else self.routing.rows:
            params = segment.adapter.sites.get(name)
            if params is not None and segment.adapter.slot not in self.routing.failed:
                yield segment, params

    def _pre(self, name: str, module: nn.Module, args: Any, kwargs: Any) -> tuple[Any, Any] | None:
        acting = [item for item in self._acting(name) if _changes_input(item[0].adapter)]
        if not acting:
            return None
        x = input_of(args, kwargs).clone()  # the same tensor may feed other modules
        for segment, params in acting:
            adapter, rows = segment.adapter, _rows(x, segment)
            self._guarded(adapter, rows, lambda a=adapter, p=params, r=rows: a.method.pre(a.config, p, r))
        return with_input(args, kwargs, x)

    def _post(self, name: str, module: nn.Module, args: Any, kwargs: Any, output: Any) -> Any:
        acting = list(self._acting(name))
        if not acting:
            return None
        x, y = input_of(args, kwargs), output_of(output)
        if y.data_ptr() == x.data_ptr():  # a module that passes its input through
            y = y.clone()
        for segment, params in acting:
            adapter, x_rows, y_rows = segment.adapter, _rows(x, segment), _rows(y, segment)
            self._guarded(
                adapter, y_rows, lambda a=adapter, p=params, r=x_rows, s=y_rows: a.method.post(a.config, p, r, s)
            )
        return with_output(output, y)

    def _guarded(self, adapter: ResidentAdapter, rows: Tensor, compute: Any) -> None:
        """Replace `rows` by what a method computes; a method that raises ends only its own requests."""
        try:
            result = compute()
            if result.shape != rows.shape:
                raise PluginError(f"gave {tuple(result.shape)} for rows of {tuple(rows.shape)}")
            rows.copy_(result)
        except Exception as error:  # noqa: BLE001  a plugin may raise anything; the step goes on without it
            self.routing.failed[adapter.slot] = error


def _rows(x: Tensor, segment: Segment) -> Tensor:
    """The segment's rows of a packed batch `[1, rows, features]`: a view `[n, features]`."""
    return x[0, segment.start : segment.stop]


def _changes_input(adapter: ResidentAdapter) -> bool:
    return type(adapter.method).pre is not Method.pre
