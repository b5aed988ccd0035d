"""A method's own mathematics against the op that it lowers to."""

from __future__ import annotations

import torch

from adapterhub.method import Site
from adapterhub.testing.contract_case import ContractCase

ROWS = 5
TOLERANCE = 1e-5
"""Against the largest value; both compute in fp32."""


def check_lowered(case: ContractCase, site: Site) -> None:
    """At a module site, the op of `lower` gives what `pre`, the module and `post` give; without an op nothing is held.

    Raises AssertionError naming the module.
    """
    generator = torch.Generator().manual_seed(7)
    method, modules = case.method, case.base.shape.modules
    bound = case.bound(site, generator)
    op = method.lower(case.config, site, bound)
    if op is None:
        return
    where = f"{method.name}.lower at {site.module}"
    assert not site.replaces, f"{where}: a site that replaces its module cannot be lowered"
    x = torch.randn(ROWS, modules[site.tap or site.module].in_features, generator=generator)
    weight = torch.randn(modules[site.module].out_features, x.shape[1], generator=generator) / x.shape[1] ** 0.5

    def module(rows: torch.Tensor) -> torch.Tensor:
        result: torch.Tensor = rows @ weight.T
        return result

    misfit = op.misfit(*weight.shape[::-1])
    assert not misfit, f"{where}: {misfit}"
    entered = method.pre(case.config, bound, x)
    expected = method.post(case.config, bound, entered, module(entered))
    drift = float((op.apply_(x, module(x), module) - expected).abs().max())
    limit = TOLERANCE * max(1.0, float(expected.abs().max()))
    assert drift <= limit, f"{where}: differs from `post` by {drift:.1e}"
