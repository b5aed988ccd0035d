"""Folders that PEFT wrote: imported, stored and served as PEFT computes them, whichever name they were saved under."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from peft import PeftModel, get_peft_model
from test_cli import run as cli
from transformers import AutoModelForCausalLM

from adapterhub.adapter import ADAPTER_FILES, PROVENANCE_FILE
from adapterhub.base import BaseModel
from adapterhub.peft import peft_config
from adapterhub.plugins import installed_methods
from adapterhub.store import Store
from adapterhub.testing.equality import greedy, recording_engine, run, teacher_forced

METHODS: dict[str, tuple[str, dict[str, Any], float]] = {
    "lora": ("lora", {"r": 4, "target_modules": ["q_proj", "down_proj"]}, 0.1),
    "dora": ("lora", {"r": 4, "use_dora": True, "target_modules": ["q_proj", "down_proj"]}, 0.1),
    "ia3": ("ia3", {}, 0.5),
    "vera": ("vera", {"r": 8}, 0.4),
    "boft": ("boft", {"target_modules": ["q_proj", "v_proj"]}, 0.1),
    "trainable_tokens": ("trainable_tokens", {"token_indices": [9, 12, 40]}, 0.5),
    "prefix_tuning": ("prefix_tuning", {"num_virtual_tokens": 5}, 0.5),
    "prompt_tuning": ("prompt_tuning", {"num_virtual_tokens": 5}, 0.5),
    "p_tuning": ("p_tuning", {"num_virtual_tokens": 5, "encoder_hidden_size": 16}, 0.5),
}
"""Method, options, and the size of the noise on what learns."""
NAMES = ("default", "second")
# What PEFT notes of its own methods matters to who trains with PEFT.
pytestmark = pytest.mark.filterwarnings("ignore::UserWarning", "ignore::RuntimeWarning")


@pytest.fixture(scope="module")
def base(tiny_base: Path) -> BaseModel:
    return BaseModel.load(str(tiny_base), quantization="none")


def saved_by_peft(base_folder: Path, method: str, options: dict[str, Any], scale: float, into: Path) -> PeftModel:
    """Two random adapters of a method on one model, as PEFT saves them: in the folder, and in one below."""
    chosen = installed_methods().get(method)
    model = AutoModelForCausalLM.from_pretrained(base_folder)
    made = [peft_config(chosen, chosen.Config.load(options, where="test")) for _ in NAMES]
    adapted: PeftModel = get_peft_model(model, made[0])
    adapted.add_adapter(NAMES[1], made[1])
    generator = torch.Generator().manual_seed(0)
    for name in NAMES:
        adapted.set_adapter(name)
        for parameter in adapted.parameters():
            if parameter.requires_grad:
                parameter.data += torch.randn(parameter.shape, generator=generator) * scale
    adapted.eval().save_pretrained(str(into), save_embedding_layers=False)
    return adapted


@pytest.mark.parametrize("case", METHODS)
def test_it_is_served_as_peft_computes_it(base: BaseModel, tiny_base: Path, tmp_path: Path, case: str) -> None:
    adapted = saved_by_peft(tiny_base, *METHODS[case], tmp_path / "saved")
    (tmp_path / "saved" / "training_args.bin").touch()
    for name in NAMES:
        done = cli("import", str(tmp_path / "saved"), name, "--adapter", name, "--base", str(tiny_base))
        assert done.exit_code == 0, done.output
        adapter = Store.default().resolve(name)
        assert set(adapter.files) <= set(ADAPTER_FILES) - {PROVENANCE_FILE}
        requests = [greedy(range(9, 30), adapter.digest, 6), greedy(range(9, 30), "", 1)]
        with recording_engine(base, {"": adapter}) as (engine, recorder):
            row, bare = run(engine, recorder, requests)
        adapted.set_adapter(name)
        expected = teacher_forced(adapted, requests[0], row)
        torch.testing.assert_close(row.logits, expected, atol=1e-4, rtol=0)
        assert (row.logits[0] - bare.logits[0]).abs().max() > 0.05
    assert Store.default().pin(NAMES[0]).digest != Store.default().pin(NAMES[1]).digest
