"""How a norm of the base computes, found out by asking it.

    c = x - mean(x) if centered else x
    y = c / sqrt(mean(c^2) + eps) * (weight + offset) + bias        row-wise, x and y [.., width]

Families write the same norm in their own classes and keep eps under names of their own; Gemma's adds
1 to its weight. What a norm gives for a few rows tells all of it, and that it is of this form at all.
"""

from __future__ import annotations

from typing import NamedTuple

import torch

from adapterhub import Params, UnsupportedAdapterError
from adapterhub.method import BaseWeights

SMALL = 1e-4
"""The values of a row whose mean square is far below any eps in use."""
ROW_SCALES = (1e-3, 0.1, 1.0, 30.0)


class NormForm(NamedTuple):
    """The three things that differ between norms."""

    eps: float
    centered: bool
    """It takes the mean away, as LayerNorm does and RMSNorm does not."""
    offset: float
    """Added to the weight."""


def norm_form(module: str, p: Params, base: BaseWeights) -> NormForm:
    """The form of norm `module`, whose parameters are named and sized as `p`.

    Raises UnsupportedAdapterError when it computes something else.
    """
    if p["weight"].is_meta:  # nothing to be asked: only sizes matter
        return NormForm(eps=0.0, centered=False, offset=0.0)
    device, width = p["weight"].device, len(p["weight"])
    bias = {"bias": torch.zeros(width, device=device)} if "bias" in p else {}
    small = torch.zeros(1, width, device=device)
    small[0, :2] = torch.tensor((SMALL, -SMALL))  # of mean 0: centered or not, it is the same
    at_zero = base.norm(module, small, {"weight": torch.zeros(width, device=device), **bias})[0, 0]
    at_one = base.norm(module, small, {"weight": torch.ones(width, device=device), **bias})[0, 0]
    normed = float(at_one - at_zero)  # SMALL / sqrt(2 SMALL^2 / width + eps)
    if normed > 0:
        eps = max(SMALL**2 / normed**2 - 2 * SMALL**2 / width, 0.0)
        offset = round(float(at_zero) / normed, 3)
        for form in (NormForm(eps, centered, offset) for centered in (False, True)):
            if _fits(form, module, bias, base, width, device):
                return form
    raise UnsupportedAdapterError(f"{module}: computes neither as a LayerNorm nor as an RMSNorm, which are served")


def _fits(form: NormForm, module: str, bias: Params, base: BaseWeights, width: int, device: torch.device) -> bool:
    """Whether the norm gives what `form` says for rows of all sizes."""
    scales = torch.tensor(ROW_SCALES, device=device).unsqueeze(1)
    x = (torch.arange(len(ROW_SCALES) * width, device=device).sin().view(-1, width) + 0.5) * scales
    weight = torch.arange(width, device=device).cos()
    given = base.norm(module, x, {"weight": weight, **{name: weight.square() for name in bias}})
    centered = x - x.mean(-1, keepdim=True) if form.centered else x
    scaled = centered * (centered.square().mean(-1, keepdim=True) + form.eps).rsqrt()
    expected = scaled * (weight + form.offset) + (weight.square() if bias else 0)
    return torch.allclose(given, expected, rtol=1e-4, atol=1e-5)
