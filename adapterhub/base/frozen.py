"""From a folder of weights to a frozen, quantized transformers model."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from torch import nn
from transformers import AutoModelForCausalLM

from adapterhub.base.quantize import Quantization, bitsandbytes_config, keep_nf4_portable, quantize_int8
from adapterhub.errors import BaseNotFoundError

if TYPE_CHECKING:
    from pathlib import Path

    from transformers import PreTrainedModel

    from adapterhub.method import BaseShape
    from adapterhub.ops import Kernels


def load_frozen(
    folder: Path,
    shape: BaseShape,
    quantization: Quantization,
    device: torch.device,
    dtype: torch.dtype,
    kernels: Kernels | None = None,
) -> PreTrainedModel:
    """Load the weights in `folder` in eval mode, quantized, with no parameter that requires a gradient.

    int8 on the CPU computes by `kernels`, or by torch.

    Raises BaseNotFoundError naming the first weight that is missing or does not fit.
    """
    try:
        loaded: Any = AutoModelForCausalLM.from_pretrained(
            folder,
            output_loading_info=True,
            dtype=dtype,
            device_map={"": device},
            quantization_config=bitsandbytes_config(quantization, shape, device, dtype),
            ignore_mismatched_sizes=True,
            use_safetensors=True,
            trust_remote_code=False,
        )
    except (OSError, ValueError) as error:
        raise BaseNotFoundError(f"{folder}: cannot be loaded: {error}", resource=str(folder)) from None
    model: PreTrainedModel = loaded[0]
    # transformers goes on with random values in place of what it did not find.
    _refuse(folder, "is missing", sorted(loaded[1]["missing_keys"]))
    _refuse(folder, "has another shape than config.json says", sorted(key[0] for key in loaded[1]["mismatched_keys"]))
    model.train(False).requires_grad_(False)
    if quantization == "int8" and device.type == "cpu":
        quantize_int8(model, kernels)
    if quantization == "nf4":
        keep_nf4_portable(model)
    _leave_file(model)
    return model


def _refuse(folder: Path, problem: str, names: list[str]) -> None:
    if names:
        more = f" (and {len(names) - 1} more)" if len(names) > 1 else ""
        raise BaseNotFoundError(f"{folder}: weight {names[0]} {problem}{more}", resource=str(folder))


def _leave_file(model: nn.Module) -> None:
    """Copy what is still a view of the mapped file: a later write to the file would change it."""
    for tensor in (*model.parameters(), *model.buffers()):
        if type(tensor) in (nn.Parameter, torch.Tensor) and tensor.device.type == "cpu":
            tensor.data = tensor.data.clone()


def count_bytes(model: nn.Module) -> int:
    """Bytes of parameters, buffers and quantization states; storage that is shared counts once."""
    tensors: list[torch.Tensor] = [*model.parameters(), *model.buffers()]
    for parameter in model.parameters():
        tensors += _state_tensors(getattr(parameter, "quant_state", None))
        # LLM.int8 keeps a row's scale beside the weight.
        tensors += [scale for scale in (getattr(parameter, "SCB", None),) if scale is not None]
    return sum({tensor.data_ptr(): tensor.nbytes for tensor in tensors}.values())


def _state_tensors(state: Any) -> list[torch.Tensor]:
    """The tensors of a bitsandbytes QuantState, whose scales may be quantized once more."""
    if state is None:
        return []
    own = [tensor for tensor in (state.absmax, state.code, state.offset) if tensor is not None]
    return own + _state_tensors(state.state2)
