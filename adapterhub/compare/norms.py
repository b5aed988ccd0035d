"""Norms by site: how large an adapter is at each place, and how far from another.

    |s B A|_F^2 = s^2 tr((B^T B) (A A^T))      from two r x r products; the update itself is never formed

A difference of two updates is one of the ranks' sum, [s1 B1, -s2 B2] [A1; A2]. A pair with anything beside
it at its site, such as DoRA's magnitudes, is compared by its tensors like any other.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Mapping
from typing import Protocol, runtime_checkable

import torch
from peft.mapping import PEFT_TYPE_TO_PREFIX_MAPPING
from torch import Tensor

from adapterhub.adapter import Adapter
from adapterhub.compare.difference import SiteNorms
from adapterhub.errors import UnsupportedAdapterError
from adapterhub.plugins import installed_methods, understand

PAIRS = ({"lora_A.weight", "lora_B.weight"}, {"lora_embedding_A", "lora_embedding_B"})
"""PEFT's names of a low-rank update's factors, [r, in] and [out, r]."""
WRAPPER = "base_model.model."
"""What PEFT's names start with."""
OWN = ("base_layer", "weight", "bias")
"""Parts of the names of a module's own tensors, trained or saved whole."""

Sites = dict[str, dict[str, Tensor]]
Update = tuple[Tensor, Tensor]
"""A [r, in] and B [out, r] with the scaling in it, both fp64."""


@runtime_checkable
class Scaled(Protocol):
    """Options of a method whose update of a module is s B A."""

    def scaling(self, module: str) -> float: ...


def site_norms(a: Adapter, b: Adapter) -> tuple[SiteNorms, ...]:
    """Of every site of either adapter. Reads all tensors; raises CorruptAdapterError as that does."""
    sites_a, sites_b = _sites(a), _sites(b)
    options_a, options_b = _options(a), _options(b)
    found = []
    for site in sorted(sites_a.keys() | sites_b.keys()):
        here_a, here_b = sites_a.get(site, {}), sites_b.get(site, {})
        update_a, update_b = _update(here_a, options_a, site), _update(here_b, options_b, site)
        if all(update or not here for update, here in ((update_a, here_a), (update_b, here_b))):
            found.append(_of_updates(site, update_a, update_b))
        else:
            found.append(_of_tensors(site, here_a, here_b))
    return tuple(sorted(found, key=lambda norms: -math.inf if norms.change is None else -norms.change))


def _sites(adapter: Adapter) -> Sites:
    """Site -> the tensors' names behind it -> tensors."""
    prefixes = tuple({f"{adapter.peft_type.lower()}_", PEFT_TYPE_TO_PREFIX_MAPPING.get(adapter.peft_type, "")} - {""})  # type: ignore[call-overload]
    found: Sites = defaultdict(dict)
    for key, tensor in adapter.read_tensors().items():
        parts = key.removeprefix(WRAPPER).split(".")
        starts = (place for place, part in enumerate(parts) if part.startswith(prefixes) or part in OWN)
        place = next(starts, 0)
        found[".".join(parts[:place])][".".join(parts[place:])] = tensor
    return found


def _options(adapter: Adapter) -> Scaled | None:
    try:
        _, options = understand(adapter, installed_methods())
    except UnsupportedAdapterError:
        return None
    return options if isinstance(options, Scaled) else None


def _update(tensors: Mapping[str, Tensor], options: Scaled | None, site: str) -> Update | None:
    if options is None or set(tensors) not in PAIRS:
        return None
    a, b = (tensors[name].double() for name in sorted(tensors))
    return a, b * options.scaling(site)


def _of_updates(site: str, a: Update | None, b: Update | None) -> SiteNorms:
    pairs = [pair for pair in (a, b) if pair is not None]
    signed = [pair if pair is a else (pair[0], -pair[1]) for pair in pairs]
    if a and b and (a[0].shape[1] != b[0].shape[1] or a[1].shape[0] != b[1].shape[0]):
        difference = None
    elif a and b and all(torch.equal(x, y) for x, y in zip(a, b, strict=True)):
        difference = 0.0
    else:
        difference = _update_norm(torch.cat([pair[0] for pair in signed]), torch.cat([pair[1] for pair in signed], 1))
    norm_a, norm_b = (0.0 if pair is None else _update_norm(*pair) for pair in (a, b))
    return SiteNorms(site, "update", norm_a, norm_b, difference)


def _update_norm(a: Tensor, b: Tensor) -> float:
    """|B A|_F; a: [r, in], b: [out, r]."""
    return math.sqrt(max(0.0, float(((b.T @ b) * (a @ a.T)).sum())))


def _of_tensors(site: str, a: Mapping[str, Tensor], b: Mapping[str, Tensor]) -> SiteNorms:
    same = {name: tensor.shape for name, tensor in a.items()} == {name: tensor.shape for name, tensor in b.items()}
    difference = None
    if same:
        difference = _norm({name: a[name].double() - b[name].double() for name in a})
    elif not (a and b):
        difference = _norm(a or b)
    return SiteNorms(site, "tensors", _norm(a), _norm(b), difference)


def _norm(tensors: Mapping[str, Tensor]) -> float:
    return math.sqrt(sum(float(tensor.double().square().sum()) for tensor in tensors.values()))
