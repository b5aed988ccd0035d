"""A method's own mathematics against the op that it lowers to."""

from __future__ import annotations

import torch

from adapterhub.method import Method, Site
from adapterhub.testing.contract_case import ContractCase

ROWS = 5
TOLERANCE = 1e-5
"""Against the largest value; both compute in fp32."""


def check_lowered(case: ContractCase, site: Site) -> None:
    """At a module site, the op of `lower` gives what `post` gives; a method without an op has nothing to hold.

    Raises AssertionError naming the module.
    """
    generator = torch.Generator().manual_seed(7)
    method, modules = case.method, case.base.shape.modules
    bound = case.bound(site, generator)
    op = method.lower(case.config, site, bound)
    if op is None:
        return
    where = f"{method.name}.lower at {site.module}"
    assert type(method).pre is Method.pre, f"{where}: a site with `pre` cannot be lowered"
    assert not site.replaces, f"{where}: a site that replaces its module cannot be lowered"
    x = torch.randn(ROWS, modules[site.tap or site.module].in_features, generator=generator)
    y = torch.randn(ROWS, modules[site.module].out_features, generator=generator)
    misfit = op.misfit(x.shape[1], y.shape[1])
    assert not misfit, f"{where}: {misfit}"
    expected = method.post(case.config, bound, x, y.clone())
    drift = float((op.apply_(x, y, _no_module) - expected).abs().max())
    limit = TOLERANCE * max(1.0, float(expected.abs().max()))
    assert drift <= limit, f"{where}: differs from `post` by {drift:.1e}"


def _no_module(rows: torch.Tensor) -> torch.Tensor:
    raise AssertionError("an op of `lower` computes from the module's rows alone")
