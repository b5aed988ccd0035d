"""Another library's adapter, converted by the method that knows it."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from safetensors.torch import save_file

from adapterhub import __version__
from adapterhub.adapter import CONFIG_FILE, PROVENANCE_FILE, TENSORS_FILE, Provenance, read_tensors, write_json
from adapterhub.adopted import Adopted
from adapterhub.errors import CorruptAdapterError, UnsupportedAdapterError
from adapterhub.imports.stage import stage_tensors
from adapterhub.imports.weights import refuse_other_weights
from adapterhub.method import Method
from adapterhub.plugins import Methods, blamed_on
from adapterhub.safetensors_header import read_header


def convert(source: Path, values: Mapping[str, Any], into: Path, methods: Methods, *, max_bytes: int) -> None:
    """Write to `into` what the adapter in `source` is here; `values` is its config, copied to `into` already.

    Neither its base nor its prompt format is recorded: nothing in its files says for certain what they were.
    Raises UnsupportedAdapterError naming what is not served, CorruptAdapterError, and OSError.
    """
    method, adopted = _adopt(values, methods, where=str(source / CONFIG_FILE))
    for name, reason in adopted.refused.items():
        if os.path.lexists(source / name):
            raise UnsupportedAdapterError(f"{source / name}: {reason}")
    theirs = into / adopted.tensors_file
    if not stage_tensors(source / theirs.name, into, limit=max_bytes):
        refuse_other_weights(source, theirs.name)
        raise CorruptAdapterError(f"{source}: no {theirs.name}")
    files = {path.name: _digest(path) for path in (into / CONFIG_FILE, theirs)}
    read_header(theirs)
    tensors = read_tensors(theirs, name=str(theirs))
    theirs.unlink()
    with blamed_on(method):
        save_file(adopted.convert(tensors), into / TENSORS_FILE, metadata={"format": "pt"})
    options = {"peft_type": method.peft_type, "task_type": "CAUSAL_LM", **adopted.options}
    write_json(into / CONFIG_FILE, options)
    provenance = Provenance(
        method=method.name,
        quantization="",
        prompt_format=None,
        versions={"adapterhub": __version__},
        converted_from={**adopted.source, "files": files},
    )
    write_json(into / PROVENANCE_FILE, provenance.model_dump())


def _adopt(values: Mapping[str, Any], methods: Methods, *, where: str) -> tuple[Method[Any], Adopted]:
    """The first method that knows the layout."""
    for method in methods.by_name.values():
        with blamed_on(method):
            if (adopted := method.adopt(values, where=where)) is not None:
                return method, adopted
    raise UnsupportedAdapterError(f"{where}: no peft_type, and no layout that an installed method can convert")


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return f"sha256:{hashlib.file_digest(file, 'sha256').hexdigest()}"
