"""OpenVINO GenAI's continuous batching, over a model exported by optimum-intel.

A pipeline gives all requests of one `generate` the adapters of the first: requests for different adapters in one call
are answered wrongly and silently (2026.4). So a run's requests are grouped by adapter here, one call after another.
"""

from __future__ import annotations

import hashlib
import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import openvino
import openvino_genai as genai

from benchmarks.peers.protocol import Ask, Load, serve

CACHE_GB = 1
"""Room for keys and values."""


class OpenvinoPipeline:
    """Options: `weights` (int8, fp32); `grouped`: False sends a run's requests in one call all the same."""

    libraries = ("openvino-genai", "openvino", "optimum-intel", "nncf")

    def __init__(self) -> None:
        self._pipeline: Any = None
        self._adapters: list[genai.AdapterConfig] = []
        """One for each adapter, the bare base last."""
        self._grouped = True

    def load(self, job: Load) -> None:
        self._grouped = job.options.get("grouped", True)
        folder = export(job.model, job.options["weights"], job.cache / "openvino" / "exports")
        scheduler = genai.SchedulerConfig()
        scheduler.cache_size = CACHE_GB
        scheduler.enable_prefix_caching = False
        properties: dict[str, Any] = {}
        if job.adapters:
            adapters = [genai.Adapter(str(path / "adapter_model.safetensors")) for path in job.adapters]
            # The files hold no alpha: what PEFT writes beside them is given by hand.
            self._adapters = [
                genai.AdapterConfig(adapter, scaling(path))
                for adapter, path in zip(adapters, job.adapters, strict=True)
            ]
            properties["adapters"] = genai.AdapterConfig(adapters)
        self._adapters.append(genai.AdapterConfig())
        self._pipeline = genai.ContinuousBatchingPipeline(str(folder), scheduler, "CPU", properties)

    def run(self, requests: list[Ask], new_tokens: int) -> list[list[int]]:
        groups: dict[int, list[int]] = {}
        for index, request in enumerate(requests):
            adapter = len(self._adapters) - 1 if request.adapter is None else request.adapter
            groups.setdefault(adapter if self._grouped else -1, []).append(index)
        answers: list[list[int]] = [[] for _ in requests]
        for indices in groups.values():
            prompts = [openvino.Tensor(np.array([requests[index].prompt], dtype=np.int64)) for index in indices]
            configs = [self._config(requests[index].adapter, new_tokens) for index in indices]
            for index, result in zip(indices, self._pipeline.generate(prompts, configs), strict=True):
                answers[index] = list(result.m_generation_ids[0])
        return answers

    def _config(self, adapter: int | None, new_tokens: int) -> genai.GenerationConfig:
        config = genai.GenerationConfig()
        config.max_new_tokens = new_tokens
        config.ignore_eos = True
        config.do_sample = False
        config.apply_chat_template = False
        if len(self._adapters) > 1:
            config.adapters = self._adapters[-1 if adapter is None else adapter]
        return config

    def close(self) -> None:
        self._pipeline = None


def scaling(folder: Path) -> float:
    """alpha / r of an adapter in PEFT's layout."""
    config = json.loads((folder / "adapter_config.json").read_text())
    return float(config["lora_alpha"] / config["r"])


def export(model: Path, weights: str, exports: Path) -> Path:
    """The folder of `model` in OpenVINO's format, made the first time."""
    key = hashlib.sha256((model / "config.json").read_bytes()).hexdigest()[:12]
    folder = exports / f"{key}-{weights}"
    if (folder / "openvino_model.xml").is_file():
        return folder
    partial = folder.with_name(f".{folder.name}")
    shutil.rmtree(partial, ignore_errors=True)
    command = [str(Path(sys.executable).with_name("optimum-cli")), "export", "openvino", "--model", str(model)]
    command += ["--task", "text-generation-with-past", "--weight-format", weights, str(partial)]
    subprocess.run(command, check=True)  # noqa: S603
    partial.rename(folder)
    return folder


if __name__ == "__main__":
    serve(OpenvinoPipeline())
