"""A method's functions, called on the same rows in other company."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import torch
from torch import Tensor

from adapterhub.method import Site
from adapterhub.testing.contract_case import ContractCase

ROWS = 6
TOLERANCE = 1e-4
"""Against the largest value: fp32 rounds a matmul's rows differently when their number changes."""


def check_rows(case: ContractCase, site: Site) -> None:
    """At a module site, `pre`, `post` and `replace` give a row the same alone and among any others.

    Raises AssertionError naming the function and the module.
    """
    generator = torch.Generator().manual_seed(5)
    method, config = case.method, case.config
    bound = case.bound(site, generator)
    modules = case.base.shape.modules
    own, tapped = modules[site.module], modules[site.tap or site.module]
    if own.kind == "embedding":
        x = torch.randint(0, own.in_features, (2 * ROWS,), generator=generator)
    else:
        x = torch.randn(2 * ROWS, own.in_features, generator=generator)
        _check(f"{method.name}.pre at {site.module}", partial(method.pre, config, bound), x)
    if site.tap:
        x = torch.randn(2 * ROWS, tapped.in_features, generator=generator)
    if site.replaces:
        _check(f"{method.name}.replace at {site.module}", partial(method.replace, config, bound), x)
    else:
        y = torch.randn(2 * ROWS, own.out_features, generator=generator)
        _check(f"{method.name}.post at {site.module}", partial(method.post, config, bound), x, y)


def _check(where: str, compute: Callable[..., Tensor], *inputs: Tensor) -> None:
    """`inputs`: [2 * ROWS, ...] each; the first half are the rows, the second their other neighbours."""
    generator = torch.Generator().manual_seed(6)
    with torch.no_grad():
        expected = compute(*(tensor[:ROWS].clone() for tensor in inputs))
        for company in _companies(generator):
            got = compute(*(tensor[company].clone() for tensor in inputs))
            assert got.shape[0] == len(company), f"{where}: {len(company)} rows in, {got.shape[0]} out"
            for place, row in enumerate(company.tolist()):
                if row < ROWS:
                    limit = TOLERANCE * max(1.0, float(expected[row].abs().max()))
                    drift = float((got[place] - expected[row]).abs().max())
                    assert drift <= limit, f"{where}: a row's result changed by {drift:.1e} with its neighbours"


def _companies(generator: torch.Generator) -> list[Tensor]:
    """Rows by number: each alone, all in another order, and all among others."""
    alone = [torch.tensor([row]) for row in range(ROWS)]
    return [
        *alone,
        torch.randperm(ROWS, generator=generator),
        torch.randperm(2 * ROWS, generator=generator),
    ]
