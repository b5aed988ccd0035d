"""The contender that everybody has: transformers' `generate` over PEFT's `adapter_names`, in float32.

Answered one request at a time it is also the reference that the others' answers are held against.
"""

from __future__ import annotations

from typing import Any

import torch
from peft import PeftModel
from transformers import AutoModelForCausalLM

from benchmarks.peers.protocol import Ask, Load, serve

BASE = "__base__"
"""PEFT's word for rows without an adapter."""


class PeftGenerate:
    """Options are those of `generate`, by name: `cache_implementation` (static, dynamic)."""

    libraries = ("peft", "torch", "transformers")

    def __init__(self) -> None:
        self._model: Any = None
        self._options: dict[str, Any] = {}
        self._adapters = 0

    def load(self, job: Load) -> None:
        self._options, self._adapters = job.options, len(job.adapters)
        self._model = AutoModelForCausalLM.from_pretrained(job.model, dtype=torch.float32)
        for index, folder in enumerate(job.adapters):
            if index == 0:
                self._model = PeftModel.from_pretrained(self._model, folder, adapter_name="0")
            else:
                self._model.load_adapter(folder, adapter_name=str(index))
        self._model.eval()
        # An end-of-sequence token neither ends an answer nor is kept from being chosen.
        self._model.generation_config.eos_token_id = None
        self._model.generation_config.pad_token_id = 0

    @torch.inference_mode()
    def run(self, requests: list[Ask], new_tokens: int) -> list[list[int]]:
        longest = max(len(request.prompt) for request in requests)
        padded = [[0] * (longest - len(request.prompt)) + request.prompt for request in requests]
        mask = [[0] * (longest - len(request.prompt)) + [1] * len(request.prompt) for request in requests]
        named: dict[str, Any] = {}
        if self._adapters:
            named["adapter_names"] = [BASE if ask.adapter is None else str(ask.adapter) for ask in requests]
        ids = self._model.generate(
            input_ids=torch.tensor(padded),
            attention_mask=torch.tensor(mask),
            max_new_tokens=new_tokens,
            do_sample=False,
            **self._options,
            **named,
        )
        answers: list[list[int]] = ids[:, longest:].tolist()
        return answers

    def close(self) -> None:
        self._model = None


if __name__ == "__main__":
    serve(PeftGenerate())
