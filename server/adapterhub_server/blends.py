"""Blends as the wire has them."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from adapterhub.adapter import Adapter
from adapterhub.engine import Blend
from adapterhub.engine.blend import check_size, check_weight
from adapterhub.errors import RefError
from adapterhub.pb.v1 import inference_pb2


def told(blend: inference_pb2.Blend) -> str:
    """How answers and logs name it: `0.7*team/orders+0.3*tickets:v2`, as the request has it."""
    return "".join(f"{share.weight:+g}*{share.adapter}" for share in blend.adapters).removeprefix("+")


async def resolved(blend: inference_pb2.Blend, get: Callable[[str], Awaitable[Adapter]]) -> Blend:
    """The blend of the adapters that `get` gives for its references.

    Raises InvalidInputError naming the field, and what `get` raises.
    """
    check_size(len(blend.adapters))
    shares = []
    for index, share in enumerate(blend.adapters):
        check_weight(share.weight, index)
        try:
            shares.append((await get(share.adapter), share.weight))
        except RefError as error:
            error.field = f"blend.adapters.{index}.adapter"
            raise
    return Blend.of(shares)
