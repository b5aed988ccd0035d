"""An adapter that another library saved, in the terms of a method of ours."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True)
class Adopted:
    """What `Method.adopt` makes of another library's `adapter_config.json`."""

    source: Mapping[str, str]
    """Which library wrote it, its version and the like, for the adapter's record."""
    options: Mapping[str, Any]
    """The method's options, as `adapter_config.json` will hold them."""
    tensors_file: str
    """The safetensors file that lies beside that config."""
    convert: Callable[[Mapping[str, Tensor]], dict[str, Tensor]]
    """From the tensors of that file, by their names there, to the method's. Raises UnsupportedAdapterError
    naming those that are not served."""
    refused: Mapping[str, str] = field(default_factory=dict)
    """Files that may not lie beside it, with the reason."""
