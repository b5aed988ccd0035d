"""Adapters saved in 16 bits are computed in fp32, as PEFT does when it loads them."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from conftest import save_random_adapter
from peft import PeftModel
from safetensors.torch import load_file, save_file
from transformers import AutoModelForCausalLM

from adapterhub.adapter import TENSORS_FILE, read_folder
from adapterhub.base import BaseModel
from adapterhub.testing.equality import greedy, recording_engine, run, teacher_forced


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
@pytest.mark.parametrize("method", ["lora", "bottleneck", "ia3", "ln_tuning", "loha", "lokr"])
def test_a_16_bit_adapter_is_computed_as_peft_computes_it(
    tiny_base: Path, tmp_path: Path, method: str, dtype: torch.dtype
) -> None:
    base = BaseModel.load(str(tiny_base), quantization="none")
    folder = save_random_adapter(tmp_path, method, base.shape)
    tensors = {key: tensor.to(dtype) for key, tensor in load_file(folder / TENSORS_FILE).items()}
    save_file(tensors, folder / TENSORS_FILE, metadata={"format": "pt"})
    adapter = replace(read_folder(folder), digest="sha256:half")
    with recording_engine(base, {"": adapter}) as (engine, recorder):
        request = greedy(range(5, 30), "sha256:half", 12)
        (row,) = run(engine, recorder, [request])
    model = AutoModelForCausalLM.from_pretrained(tiny_base, dtype=torch.float32)
    expected = teacher_forced(PeftModel.from_pretrained(model, str(folder)).train(False), request, row)
    torch.testing.assert_close(row.logits, expected, atol=1e-4, rtol=0)
    assert expected.argmax(dim=-1).tolist() == list(row.tokens)
