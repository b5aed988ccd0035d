"""Tiny bases of three families that tests of LoRA and other methods of PEFT's share: Llama, GPT-2 (transposed
linears, biases), Gemma 2."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Self

import pytest
import torch
from conftest import save_random_adapter
from peft import PeftModel
from safetensors.torch import load_file, save_file
from transformers import (
    AutoModelForCausalLM,
    Gemma2Config,
    GPT2Config,
    LlamaConfig,
    PreTrainedConfig,
    PreTrainedModel,
)

from adapterhub.adapter import TENSORS_FILE, Adapter, read_folder
from adapterhub.base import BaseModel
from adapterhub.base.quantize import Quantization
from adapterhub.engine import Request
from adapterhub.testing import save_tokenizer
from adapterhub.testing.equality import (
    Report,
    Row,
    assert_equal,
    greedy,
    recording_engine,
    run,
    teacher_forced,
)

MOVES = 0.05
"""How far, at least, each adapter must move some logit of the base."""

PEFT_SAYS = [
    # A tied side in the adapter is exact as long as nothing is merged.
    pytest.mark.filterwarnings("ignore:Model has `tie_word_embeddings=True`:UserWarning"),
    # PEFT finds GPT-2's transposed linears itself.
    pytest.mark.filterwarnings("ignore:fan_in_fan_out is set to (False|True) but the target module:UserWarning"),
    # A bias of B is a vector by intent.
    pytest.mark.filterwarnings("ignore:.*LoRA tensor\\(s\\) have invalid shape.*"),
    pytest.mark.filterwarnings("ignore:`lora_bias=True` was passed but the targeted layer"),
    pytest.mark.filterwarnings("ignore:The following rank_pattern keys did not match:RuntimeWarning"),
]
"""Notes of PEFT's that do not matter here."""

SIZES: dict[str, Any] = {
    "vocab_size": 258,
    "hidden_size": 64,
    "intermediate_size": 128,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 16,
    "max_position_embeddings": 256,
    "initializer_range": 0.2,
    "bos_token_id": 0,
    "eos_token_id": 1,
    "pad_token_id": 1,
}
FAMILIES: dict[str, Callable[[], PreTrainedConfig]] = {
    "llama": lambda: LlamaConfig(**SIZES, tie_word_embeddings=False),
    "tied": lambda: LlamaConfig(**SIZES, tie_word_embeddings=True),
    "gpt2": lambda: GPT2Config(
        vocab_size=258, n_embd=64, n_layer=3, n_head=4, n_positions=256, bos_token_id=0, eos_token_id=1,
        pad_token_id=1, initializer_range=0.2,
    ),
    "gemma2": lambda: Gemma2Config(**SIZES, sliding_window=64, query_pre_attn_scalar=16),
}  # fmt: skip


def bare(family: str) -> PreTrainedModel:
    """A random model of the family; biases and norms are random too, so that they count."""
    torch.manual_seed(0)
    model: PreTrainedModel = AutoModelForCausalLM.from_config(FAMILIES[family]())  # type: ignore[no-untyped-call]
    for parameter in model.parameters():
        if parameter.ndim == 1:
            parameter.data += 0.1 * torch.randn_like(parameter)
    model.train(False)
    return model


@dataclass(frozen=True)
class LoraCase:
    """A base with adapters of several options, and requests that mix them with rows of the base."""

    base: BaseModel
    folder: Path
    """Where the base lies."""
    folders: dict[str, Path]
    """Adapters by digest."""
    adapters: dict[str, Adapter]
    requests: list[Request]

    @classmethod
    def make(
        cls,
        family: str,
        recipes: Mapping[str, dict[str, Any]],
        folder: Path,
        *,
        quantization: Quantization = "none",
        method: str = "lora",
        scale: float = 0.1,
    ) -> Self:
        base_folder = save_bare(family, folder / "base")
        base = BaseModel.load(str(base_folder), quantization=quantization, device="cpu")
        usual = {"r": 4} if method == "lora" else {}
        folders = {
            f"sha256:{name}": save_random_adapter(
                folder / str(seed), method, base.shape, seed=seed, scale=scale, **{**usual, **options}
            )
            for seed, (name, options) in enumerate(recipes.items())
        }
        adapters = {digest: replace(read_folder(path), digest=digest) for digest, path in folders.items()}
        generator = torch.Generator().manual_seed(0)
        requests = [
            greedy(torch.randint(2, 258, (9 + 5 * (index % 4),), generator=generator), name, 6)
            for index, name in enumerate(["", *adapters])
        ]
        return cls(base, base_folder, folders, adapters, requests)

    def alone(self) -> list[Row]:
        """Each request with no neighbour."""
        with recording_engine(self.base, self.adapters) as (engine, recorder):
            return [run(engine, recorder, [request])[0] for request in self.requests]

    def check_mixed(self, alone: list[Row]) -> Report:
        """All requests in one batch, in two orders, get what they got alone."""
        with recording_engine(self.base, self.adapters, step_tokens=33) as (engine, recorder):
            assert_equal(engine, recorder, self.requests[::-1], alone[::-1])
            report = assert_equal(engine, recorder, self.requests, alone)
            assert engine.stats().mixed_adapter_steps
        return report

    def check_moved(self, alone: list[Row]) -> None:
        """Each adapter moves some logit of the base by at least MOVES."""
        with recording_engine(self.base, {}) as (engine, recorder):
            rows = run(engine, recorder, [replace(request, adapter="") for request in self.requests])
        for request, row, base_row in zip(self.requests, alone, rows, strict=True):
            moved = float((row.logits[0] - base_row.logits[0]).abs().max())
            assert moved >= MOVES if request.adapter else moved < 1e-4, (request.adapter, moved)

    def check_peft(self, alone: list[Row]) -> float:
        """PEFT's own logits and greedy tokens are the same; the largest difference."""
        worst = 0.0
        for request, row in zip(self.requests, alone, strict=True):
            model: torch.nn.Module = AutoModelForCausalLM.from_pretrained(self.folder, dtype=torch.float32)
            if request.adapter:
                model = PeftModel.from_pretrained(model, str(self.folders[request.adapter]))
            expected = teacher_forced(model.train(False), request, row)
            drift = float((row.logits - expected).abs().max())
            assert drift <= 1e-4, f"{request.adapter or 'base'}: PEFT's logits differ by {drift:.1e}"
            assert expected.argmax(dim=-1).tolist() == list(row.tokens), request.adapter
            worst = max(worst, drift)
        return worst

    def cancel(self, module: str, *, share: float) -> None:
        """Make the first adapter's update take `share` of a module's weight away; its rank is the weight's width."""
        digest, folder = next(iter(self.folders.items()))
        tensors = load_file(folder / TENSORS_FILE)
        weight = self.base.weights.weight(module)
        tensors[f"base_model.model.{module}.lora_A.weight"] = torch.eye(weight.shape[1])
        tensors[f"base_model.model.{module}.lora_B.weight"] = -share * weight
        save_file(tensors, folder / TENSORS_FILE, metadata={"format": "pt"})
        self.adapters[digest] = replace(read_folder(folder), digest=digest)


def save_bare(family: str, folder: Path) -> Path:
    """A random base of the family in a folder."""
    bare(family).save_pretrained(folder)
    save_tokenizer(folder)
    return folder
