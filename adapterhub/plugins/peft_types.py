"""The `peft_type`s that PEFT has itself, known without importing it: that would import torch."""

from __future__ import annotations

from functools import cache
from importlib.util import find_spec, module_from_spec, spec_from_file_location
from pathlib import Path


@cache
def peft_types() -> frozenset[str]:
    """Every value of `peft.PeftType`, from the one file of PEFT's that lists them and imports nothing."""
    package = find_spec("peft")
    assert package is not None
    assert package.origin, "a requirement is not installed"
    spec = spec_from_file_location("_peft_types", Path(package.origin).parent / "utils" / "peft_types.py")
    assert spec is not None
    assert spec.loader is not None
    module = module_from_spec(spec)
    spec.loader.exec_module(module)
    return frozenset(known.value for known in module.PeftType)
