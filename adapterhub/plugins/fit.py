"""Which method an adapter is of, and whether it fits a base, from files and shapes alone."""

from __future__ import annotations

from typing import Any, NamedTuple

from adapterhub.adapter import Adapter
from adapterhub.errors import UnsupportedAdapterError
from adapterhub.method import BaseShape, Method, MethodConfig, Plan
from adapterhub.pattern import limited_together
from adapterhub.plugins.blame import blamed_on, refusing
from adapterhub.plugins.methods import Methods
from adapterhub.plugins.plans import Plans


class Understood(NamedTuple):
    """The method of an adapter, and its options."""

    method: Method[Any]
    config: MethodConfig


def understand(adapter: Adapter, methods: Methods) -> Understood:
    """Raises UnsupportedAdapterError naming the adapter and what of it is not served."""
    if (task := adapter.config.get("task_type")) not in (None, "CAUSAL_LM"):
        raise UnsupportedAdapterError(f"{adapter.name}: task_type {task!r}; served: CAUSAL_LM")
    with refusing(adapter):
        method = methods.for_peft_type(adapter.peft_type)
        with blamed_on(method), limited_together():
            return Understood(method, method.Config.from_peft(adapter.config, where="its config"))


def fit(
    adapter: Adapter,
    method: Method[Any],
    config: MethodConfig,
    shape: BaseShape,
    *,
    base: str,
    plans: Plans | None = None,
) -> Plan:
    """The adapter's plan on a base of `shape`, which every tensor of it fits; `base` names that base in errors.

    `plans` are those on the same shape, where they are kept.

    Raises UnsupportedAdapterError for options that name what the base does not have, and
    BaseMismatchError listing the tensors that differ.
    """
    with refusing(adapter), blamed_on(method), limited_together():
        plan = plans.of(method, config) if plans else method.plan(config, shape)
    adapter.check_plan(plan, base=base)
    return plan
