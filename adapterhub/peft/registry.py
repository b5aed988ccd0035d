"""Where PEFT looks a method up by its `peft_type`."""

from __future__ import annotations

from typing import Any

from peft import PeftConfig
from peft.mapping import PEFT_TYPE_TO_CONFIG_MAPPING, PEFT_TYPE_TO_PREFIX_MAPPING, PEFT_TYPE_TO_TUNER_MAPPING

from adapterhub.method import Method, MethodConfig
from adapterhub.peft.config import config_class
from adapterhub.peft.site_tensors import PREFIX
from adapterhub.peft.tuner import tuner_class
from adapterhub.plugins import installed_methods


def register(method: Method[Any]) -> None:
    """Make PEFT train and load `method`, one that it does not know itself."""
    name: Any = method.peft_type  # PEFT types its keys as its own enum, and works with any string
    PEFT_TYPE_TO_CONFIG_MAPPING[name] = config_class(method)
    PEFT_TYPE_TO_TUNER_MAPPING[name] = tuner_class(method)
    PEFT_TYPE_TO_PREFIX_MAPPING[name] = PREFIX


def register_installed() -> None:
    """Register every installed method that PEFT has no implementation of."""
    for method in installed_methods().by_name.values():
        if not method.in_peft:
            register(method)


def peft_config(method: Method[Any], config: MethodConfig) -> PeftConfig:
    """The PEFT config that trains `method` with `config` on a causal language model."""
    chosen: Any = PEFT_TYPE_TO_CONFIG_MAPPING[method.peft_type]  # type: ignore[index]
    result: PeftConfig = chosen(task_type="CAUSAL_LM", **config.to_peft())
    return result
