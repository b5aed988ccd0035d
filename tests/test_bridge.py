"""PEFT's other types: served through PEFT's own layers exactly as PEFT computes them, or refused with the reason."""

from __future__ import annotations

from typing import Any

import pytest
from adapterhub_bridge import BRIDGED

from adapterhub.testing import MethodContract

TARGETS = {"target_modules": ["q_proj", "v_proj", "down_proj"]}
RECIPES: dict[str, dict[str, Any]] = {
    "BEFT": {},
    "BOFT": {},
    "C3A": {"options": {"block_size": 4}, "starts_as_identity": False},
    "DEFT": {},
    "DELORA": {"scale": 1.0},
    "FOURIERFT": {"options": {"n_frequency": 200}, "starts_as_identity": False},
    "FROD": {"options": {"progressbar": False}},
    "GLORA": {},
    "GRALORA": {"options": {"r": 8}},
    "HIRA": {"options": {"r": 8}},
    "HRA": {},
    "MISS": {"options": {"r": 8}},
    "OSF": {},
    "PEANUT": {"options": {"r": 8}},
    "PSOFT": {"options": {"r": 8}},
    "PVERA": {"options": {"r": 8}, "scale": 0.4},
    "RANDLORA": {"options": {"r": 8}},
    "ROAD": {"options": {"group_size": 4}},
    "SHIRA": {"options": {"r": 4}},
    "SUPERTUNING": {},
    "TINYLORA": {"scale": 0.4},
    "UNILORA": {"starts_as_identity": False, "scale": 0.4},
    "VBLORA": {"options": {"vector_length": 4, "num_vectors": 16}, "starts_as_identity": False},
    "WAVEFT": {"options": {"n_frequency": 200}},
}
"""What the contract is run with, by PEFT type."""


def contract(peft_type: str) -> type[MethodContract]:
    """The contract of one bridged type."""
    recipe = RECIPES[peft_type]
    (method,) = (method for method in BRIDGED if method.peft_type == peft_type)
    options = {**TARGETS, **recipe.get("options", {})}
    namespace = {"made_by_peft": True, **recipe, "method": method, "options": options}
    made = type(f"Test{peft_type.title()}", (MethodContract,), namespace)
    # What PEFT notes of its own, more experimental types matters to who trains with PEFT.
    return pytest.mark.filterwarnings("ignore::UserWarning", "ignore::RuntimeWarning")(made)


for peft_type in RECIPES:
    globals()[f"Test{peft_type.title()}"] = contract(peft_type)
