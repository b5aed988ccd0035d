"""Where an adapter acts on a base and which tensors it keeps there: everything about it but its values."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from adapterhub.base_shape import BaseShape
from adapterhub.errors import PluginError

Init = Literal["zeros", "ones", "normal", "kaiming_uniform"]


@dataclass(frozen=True)
class Param:
    """One tensor an adapter keeps at a site."""

    shape: tuple[int, ...]
    init: Init = "zeros"
    std: float = 0.02
    """Standard deviation of `init="normal"`."""
    trainable: bool = True
    optional: bool = False
    """A file may have it or not; a new adapter has none, and `bind` decides what it means."""
    whole_numbers: bool = False
    """It holds indices, which never learn."""

    @property
    def numel(self) -> int:
        return math.prod(self.shape)


@dataclass(frozen=True)
class Site:
    """A place in the base where an adapter acts, with the tensors it keeps there."""

    kind: Literal["module", "kv", "prompt", "shared"]
    params: Mapping[str, Param]
    module: str = ""
    """The module's name in the unwrapped base; empty for the other kinds."""
    tap: str = ""
    """A module that runs before: `post` gets its input as `x`, in place of this module's own."""
    replaces: bool = False
    """The module's output comes from `replace`, not from the base."""
    virtual_tokens: int = 0
    """Positions in front of the prompt that a kv or prompt site occupies."""


@dataclass(frozen=True)
class Plan:
    """All sites of one adapter on one base. Exact: these tensors and no others."""

    sites: tuple[Site, ...]
    """The one of kind `shared`, if there is one, is the first."""
    tensor_keys: Mapping[str, tuple[Site, str]]
    """Name on disk -> (site, parameter name)."""

    @property
    def virtual_tokens(self) -> int:
        """Positions in front of the prompt that the adapter occupies."""
        return sum(site.virtual_tokens for site in self.sites)

    @property
    def num_parameters(self) -> int:
        return sum(math.prod(shape) for shape in self.shapes().values())

    @property
    def num_trainable(self) -> int:
        params = [site.params[name] for site, name in self.tensor_keys.values()]
        return sum(param.numel for param in params if param.trainable and not param.optional)

    def shapes(self) -> dict[str, tuple[int, ...]]:
        """The exact shape of every tensor that must be there, by its name on disk."""
        return self._shapes(optional=False)

    def optional_shapes(self) -> dict[str, tuple[int, ...]]:
        """The exact shape of every tensor that may be there, by its name on disk."""
        return self._shapes(optional=True)

    def _shapes(self, *, optional: bool) -> dict[str, tuple[int, ...]]:
        params = {key: site.params[name] for key, (site, name) in self.tensor_keys.items()}
        return {key: param.shape for key, param in params.items() if param.optional == optional}


def check_sites(method: str, sites: tuple[Site, ...], shape: BaseShape) -> None:
    """One site a module, all of them modules there are, one kv or prompt site at most, and one shared."""
    modules = [site.module for site in sites if site.kind == "module"]
    if sum(site.kind in ("kv", "prompt") for site in sites) > 1:
        raise PluginError(f"method {method!r}: more than one kv or prompt site")
    if sum(site.kind == "shared" for site in sites) > 1:
        raise PluginError(f"method {method!r}: more than one shared site")
    if twice := sorted(name for name, count in Counter(modules).items() if count > 1):
        raise PluginError(f"method {method!r}: two sites at {twice[0]}")
    taps = [site.tap for site in sites if site.tap]
    if unknown := sorted({*modules, *taps} - shape.modules.keys()):
        raise PluginError(f"method {method!r}: {unknown[0]!r} is no module of {shape.architecture}'s shape")
