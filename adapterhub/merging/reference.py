"""What a merged model is held against: the base with the adapter beside it, through PEFT, in fp32 on the CPU."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import torch
from peft import PeftModel
from torch import Tensor, nn
from transformers.pytorch_utils import Conv1D

import adapterhub.peft  # noqa: F401  it makes every installed method known to PEFT
from adapterhub.base.frozen import load_frozen
from adapterhub.base.int8 import Int8Linear
from adapterhub.errors import AdapterHubError, UnsupportedAdapterError
from adapterhub.peft.quiet_peft import quiet_peft

if TYPE_CHECKING:
    from pathlib import Path

    from adapterhub.base import Quantization
    from adapterhub.method import BaseShape

CPU = torch.device("cpu")


def load(folder: Path, shape: BaseShape, quantization: Quantization) -> Any:
    """The base held so, computing in fp32; on int8 its linear modules still show PEFT a weight."""
    model = load_frozen(folder, shape, "nf4" if quantization == "nf4" else "none", CPU, torch.float32)
    if quantization == "int8":
        for name, module in list(model.named_modules()):
            if isinstance(module, (nn.Linear, Conv1D)):
                model.set_submodule(name, _Int8(module))
    return model


def beside(model: Any, adapter: Path, name: str) -> PeftModel:
    """The adapter in folder `adapter` on `model`; `name` is what errors call it."""
    with quiet_peft(), peft_refuses(name):
        adapted: PeftModel = PeftModel.from_pretrained(model, str(adapter)).eval()
    return adapted


@contextmanager
def peft_refuses(name: str) -> Iterator[None]:
    """What PEFT raises becomes an UnsupportedAdapterError in PEFT's own words; errors of our tree pass."""
    try:
        yield
    except AdapterHubError:
        raise
    # PEFT's layers raise any of these for what they do not merge or combine (NotImplementedError where a layer has no
    # merge at all); none has a type of its own, and all of them become one refusal here.
    except (AttributeError, NotImplementedError, RuntimeError, TypeError, ValueError) as error:
        raise UnsupportedAdapterError(f"{name}: PEFT cannot do this: {error}") from None


class _Int8(nn.Linear):
    """`Int8Linear` as PEFT takes it: with the weight that it computes with."""

    def __init__(self, module: nn.Linear | Conv1D) -> None:
        held = Int8Linear.from_conv1d(module) if isinstance(module, Conv1D) else Int8Linear.from_linear(module)
        super().__init__(held.in_features, held.out_features, bias=held.bias is not None, device="meta")
        self.weight = nn.Parameter(held.dequantize(), requires_grad=False)
        if held.bias is not None:
            self.bias = nn.Parameter(held.bias, requires_grad=False)
        self._held = held

    def forward(self, x: Tensor) -> Tensor:
        found: Tensor = self._held(x)
        return found
