"""`--init-from` with adapters of PEFT's other types: they start as their parents, and learn on."""

from __future__ import annotations

from pathlib import Path

import pytest
from test_bridge import RATES, TRAINED
from training import assert_goes_on

from adapterhub.base import BaseModel


@pytest.fixture(scope="module")
def base(tiny_base: Path) -> BaseModel:
    return BaseModel.load(str(tiny_base), quantization="none", device="cpu")


# What PEFT notes of its own, more experimental types matters to who trains with PEFT.
@pytest.mark.filterwarnings("ignore::UserWarning", "ignore::RuntimeWarning", "ignore::FutureWarning")
@pytest.mark.parametrize("peft_type", TRAINED)
def test_it_starts_as_its_parent_and_learns_on(peft_type: str, base: BaseModel, tmp_path: Path) -> None:
    rate = RATES.get(peft_type, 0.03)
    child = assert_goes_on(base, peft_type.lower(), tmp_path, rate=rate, options=TRAINED[peft_type])
    kept = {"CARTRIDGE": "num_frozen_tokens", "CPT": "opt_projection_epsilon"}
    if option := kept.get(peft_type):  # it decides what learns, and is no part of what is served
        assert child.adapter.config[option] == TRAINED[peft_type].get(option, 1)
