"""W4: a base ten times as large."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from adapterhub.base.model import read_base
from adapterhub.new_folder import new_folder
from adapterhub.testing import save_tokenizer
from benchmarks.adapter_folders import lora_folders
from benchmarks.comparison import Comparison
from benchmarks.prompts import Prompts
from benchmarks.throughput import Cell, Throughput
from benchmarks.work import Bench, Goal, Plot

RANK = 8


@dataclass(frozen=True)
class W4:
    """A random Llama of 1.1 billion parameters; 8 requests."""

    name: str = "w4"
    title: str = "W4: a random Llama of 1.1B parameters, 8 requests, N distinct LoRA adapters of rank 8"
    counts: tuple[int, ...] = (1, 8)
    requests: int = 8
    prompt_tokens: int = 64
    new_tokens: int = 64

    def cells(self) -> list[Cell]:
        return [Cell(self.requests, count) for count in (0, *self.counts)]

    def run(self, bench: Bench) -> dict[str, Any]:
        folder, shape = read_base(str(large_base(bench.cache)))
        adapters = lora_folders(bench.cache, folder.path, shape, max(self.counts), RANK, bench.adapter_dtype)
        prompts = Prompts.of(folder.path, shape.vocab_size)
        work = Throughput(
            folder.path,
            adapters,
            prompts,
            self.cells(),
            bench.rounds,
            self.prompt_tokens,
            self.new_tokens,
            alone=frozenset({"openvino-fp32", "vllm-cpu", "peft"}),  # float32: 4.4 GB, and half as much again to work
        )
        return work.measure(bench)

    def table(self, found: dict[str, Any]) -> list[str]:
        base = Cell(self.requests, 0).name
        comparison = Comparison(found)
        return [*comparison.lines(), *comparison.kept([(Cell(self.requests, n).name, base) for n in self.counts])]

    def goals(self, found: dict[str, Any]) -> list[Goal]:
        return []

    def plot(self, found: dict[str, Any]) -> Plot | None:
        cells = {Cell(self.requests, count).name: float(count) for count in (0, *self.counts)}
        return Comparison(found).plot(cells, "distinct adapters (1.1B)")


def large_base(cache: Path) -> Path:
    """The folder of the model, written the first time, in bfloat16. Its tokenizer is one of bytes."""
    folder = cache / "bases" / "random-1.1b"
    if folder.is_dir():
        return folder
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    torch.manual_seed(0)
    config = LlamaConfig(
        hidden_size=2048,
        intermediate_size=5632,
        num_hidden_layers=22,
        num_attention_heads=32,
        num_key_value_heads=4,
        vocab_size=32000,
        max_position_embeddings=2048,
        tie_word_embeddings=False,
    )
    with new_folder(folder) as partial:
        model = LlamaForCausalLM(config)
        model.bfloat16().save_pretrained(partial)
        save_tokenizer(partial)  # OpenVINO loads none without
    return folder
