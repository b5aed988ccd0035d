"""A PEFT config as it is written: what older releases of PEFT, and every machine, can read."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

from peft import PeftConfig

from adapterhub.method import MethodConfig

NEEDED_KEYS = frozenset(("base_model_name_or_path", "inference_mode", "peft_type", "peft_version", "task_type"))
"""Keys of adapter_config.json that are written whatever their values are."""
EMPTY: tuple[object, ...] = (None, False, {}, [])
"""What an option may be for its key to be left out, when absent means the same to PEFT and to us."""


def portable(
    config: PeftConfig, values: Mapping[str, Any], options: type[MethodConfig], *, base: str
) -> dict[str, Any]:
    """`values` of `config` without defaults, which older releases may not know, and with sets in order.

    `options` is the method's own class, whose fields are written where they say more than nothing; `base` is
    the base's id, in place of a folder of this machine.
    """
    values = {**values, "base_model_name_or_path": base}
    ours = {name: info.get_default(call_default_factory=True) for name, info in options.model_fields.items()}
    wanted = NEEDED_KEYS | ours.keys()
    kept = {}
    for field in dataclasses.fields(config):
        value = values.get(field.name)
        default = field.default_factory() if callable(field.default_factory) else field.default
        chosen = field.name in wanted and not (value == default == ours.get(field.name) and value in EMPTY)
        if chosen or value not in (default, None):
            unordered = isinstance(getattr(config, field.name), set)
            kept[field.name] = sorted(values[field.name]) if unordered else value
    return kept
