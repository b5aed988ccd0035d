"""Which adapters can be combined, and how."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple, Self

from adapterhub.adapter import BaseRecord
from adapterhub.errors import BaseMismatchError, InvalidInputError, UnsupportedAdapterError
from adapterhub.merging.combination import KINDS, Combination, Part
from adapterhub.method import BaseShape, Method, MethodConfig, Plan
from adapterhub.plugins import fit, installed_methods, understand

COMBINED: dict[str, tuple[str, ...]] = {"LORA": KINDS, "IA3": ("linear",)}
"""Types that PEFT combines, and how; the first way is the default."""
FACTORS = ("lora_A.weight", "lora_embedding_A")
WHOLE = (*FACTORS, "lora_B.weight", "lora_embedding_B", "ia3_l")
"""What the tensors' names end in that PEFT combines."""


class Member(NamedTuple):
    """A part that was understood."""

    part: Part
    method: Method[Any]
    options: MethodConfig
    plan: Plan

    @classmethod
    def of(cls, part: Part, shape: BaseShape, base: str) -> Self:
        """Raises UnsupportedAdapterError for what PEFT does not combine, or not wholly."""
        adapter = part.adapter
        method, options = understand(adapter, installed_methods())
        plan = fit(adapter, method, options, shape, base=base)
        problem = method.unmergeable(options, shape)
        if adapter.peft_type not in COMBINED:
            problem = f"PEFT combines {', '.join(COMBINED)}, not {adapter.peft_type}"
        elif more := [key for key in adapter.tensors.keys() - plan.optional_shapes() if not key.endswith(WHOLE)]:
            problem = f"tensor {min(more)} would be left out"
        if problem:
            raise UnsupportedAdapterError(f"{part.ref} cannot be combined: {problem}")
        return cls(part, method, options, plan)

    @property
    def ranks(self) -> set[int]:
        """Those of its updates."""
        return {header.shape[0] for key, header in self.part.adapter.tensors.items() if key.endswith(FACTORS)}


def one_base(parts: Sequence[Part]) -> BaseRecord:
    """The base that all are of. Raises InvalidInputError for fewer than two, and BaseMismatchError."""
    if len(parts) < 2:
        raise InvalidInputError(f"{len(parts)} adapter given; need two or more to combine", field="ref")
    records = []
    for part in parts:
        if part.adapter.base is None:
            raise BaseMismatchError(f"{part.ref} does not record its base; need adapters of one base to combine")
        records.append(part.adapter.base)
        if records[-1].digest != records[0].digest:
            raise BaseMismatchError(
                f"{part.ref} is of base {records[-1].id} ({records[-1].digest}), {parts[0].ref} of {records[0].id} "
                f"({records[0].digest}); need adapters of one base to combine"
            )
    return records[0]


def chosen(members: Sequence[Member], combination: Combination, shape: BaseShape) -> Combination:
    """The combination with its defaults. Raises as it does not go with the adapters."""
    types = sorted({member.part.adapter.peft_type for member in members})
    if len(types) > 1:
        raise UnsupportedAdapterError(f"adapters of types {', '.join(types)}: need all of one type to combine them")
    accepted = COMBINED[types[0]]
    kind = combination.kind or accepted[0]
    if kind not in accepted:
        known = ", ".join(accepted)
        raise InvalidInputError(f"combination: {types[0]} has no {kind} (accepted: {known})", field="combination")
    if types[0] == "LORA":
        _check_ranks(members, kind, combination.rank, shape)
    elif len({frozenset(member.part.adapter.tensors) for member in members}) > 1:
        raise UnsupportedAdapterError(f"{types[0]} adapters that act on different modules cannot be combined")
    return Combination.load(combination.model_dump() | {"kind": kind}, where="combination")


def _check_ranks(members: Sequence[Member], kind: str, rank: int | None, shape: BaseShape) -> None:
    ranks = set[int]().union(*(member.ranks for member in members))
    modules = [shape.modules[site.module] for member in members for site in member.plan.sites]
    narrowest = min(min(module.in_features, module.out_features) for module in modules)
    if kind.endswith("svd") and (rank or max(ranks)) > narrowest:
        raise InvalidInputError(f"rank: {rank or max(ranks)} is over {narrowest}, a module's width", field="rank")
    if not kind.endswith("svd") and kind != "cat" and len(ranks) > 1:
        listed = ", ".join(map(str, sorted(ranks)))
        message = f"combination: {kind} needs updates of one rank, not {listed}; cat and svd do not"
        raise InvalidInputError(message, field="combination")
