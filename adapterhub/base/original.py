"""A base's weights as its files have them, one module at a time, however the base is held."""

from __future__ import annotations

from functools import cached_property
from typing import TYPE_CHECKING

from safetensors import safe_open

from adapterhub.base.weights import weight_files
from adapterhub.errors import BaseNotFoundError

if TYPE_CHECKING:
    from pathlib import Path

    from torch import Tensor

    from adapterhub.method import BaseShape


class OriginalWeights:
    """The linear modules' unquantized weights in a base's folder. Opens no file before it is asked."""

    def __init__(self, folder: Path, shape: BaseShape, prefix: str) -> None:
        """`prefix` is the part of every module's name that some files leave out, such as `transformer`."""
        self._folder = folder
        self._shape = shape
        self._prefix = f"{prefix}."

    @cached_property
    def _files(self) -> dict[str, Path]:
        """Tensor's name -> the file it is in."""
        found: dict[str, Path] = {}
        for path in weight_files(self._folder):
            with safe_open(path, framework="pt") as file:
                found |= dict.fromkeys(file.keys(), path)
        return found

    def weight(self, module: str) -> Tensor:
        """A linear module's weight: fp32 [out, in], on the CPU.

        Raises BaseNotFoundError when the files do not have it under the module's name.
        """
        expected = self._shape.modules[module]
        for key in (f"{module}.weight", f"{module.removeprefix(self._prefix)}.weight"):
            if key in self._files:
                with safe_open(self._files[key], framework="pt") as file:
                    stored: Tensor = file.get_tensor(key)
                # Copied: it is a view of the mapped file.
                weight = (stored.t() if expected.kind == "conv1d" else stored).float().clone()
                if weight.shape == (expected.out_features, expected.in_features):
                    return weight
        raise BaseNotFoundError(
            f"{self._folder}: its files have no weight {module}.weight of {expected.out_features} by "
            f"{expected.in_features}",
            resource=str(self._folder),
        )
