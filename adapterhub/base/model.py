"""The frozen base model, loaded and quantized, with what identifies it."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Self, get_args

import torch
from torch import nn
from transformers import AutoModelForCausalLM, AutoTokenizer

from adapterhub.adapter import BaseRecord
from adapterhub.base.digest import base_digest
from adapterhub.base.quantize import Quantization, bitsandbytes_config, keep_nf4_portable, quantize_int8
from adapterhub.base.resolve import BaseFolder, resolve_base
from adapterhub.base.shape import read_shape
from adapterhub.errors import BaseNotFoundError, ConfigError

if TYPE_CHECKING:
    from pathlib import Path

    from transformers import PreTrainedModel, PreTrainedTokenizerBase

    from adapterhub.method import BaseShape


@dataclass(frozen=True, eq=False)
class BaseModel:
    """A base in eval mode with no parameter that requires a gradient."""

    model: PreTrainedModel
    tokenizer: PreTrainedTokenizerBase
    shape: BaseShape
    """The shape before quantization."""
    record: BaseRecord
    """Id, revision and base digest: what an adapter made on it records."""
    quantization: Quantization
    device: torch.device
    compute_dtype: torch.dtype
    runtime_digest: str
    """`sha256:` of base digest, quantization, compute dtype and kernel: what keys computed states."""
    weight_bytes: int
    """Bytes of all weights as held, tied ones counted once."""

    @classmethod
    def load(cls, ref: str, *, quantization: Quantization | None = None, device: str | None = None) -> Self:
        """Load base `ref`: a built-in name, a folder, or a Hub id.

        By default on CUDA where there is one, as nf4 in bf16, else on the CPU, as int8 in fp32.
        Raises BaseNotFoundError, UnavailableError (the Hub), or ConfigError (device, quantization).
        """
        place = _device(device)
        chosen = _quantization(quantization, place)
        dtype = torch.float32 if place.type == "cpu" else torch.bfloat16
        folder, shape = read_base(ref)
        digest = base_digest(folder.path)
        model = _load_frozen(folder.path, chosen, place, dtype)
        return cls(
            model=model,
            tokenizer=AutoTokenizer.from_pretrained(folder.path, trust_remote_code=False),
            shape=shape,
            record=BaseRecord(id=folder.id, revision=folder.revision, digest=digest),
            quantization=chosen,
            device=place,
            compute_dtype=dtype,
            runtime_digest=_runtime_digest(digest, chosen, place, dtype),
            weight_bytes=count_bytes(model),
        )


def read_base(ref: str) -> tuple[BaseFolder, BaseShape]:
    """Where base `ref` lies and its shape, without reading a weight. Raises as `BaseModel.load`."""
    folder = resolve_base(ref)
    return folder, read_shape(folder.path)


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


def _load_frozen(folder: Path, quantization: Quantization, device: torch.device, dtype: torch.dtype) -> PreTrainedModel:
    try:
        model: PreTrainedModel = AutoModelForCausalLM.from_pretrained(
            folder,
            dtype=dtype,
            device_map={"": device},
            quantization_config=bitsandbytes_config(quantization, device, dtype),
            use_safetensors=True,
            trust_remote_code=False,
        )
    except (OSError, ValueError) as error:
        raise BaseNotFoundError(f"{folder}: cannot be loaded: {error}", resource=str(folder)) from None
    model.train(False).requires_grad_(False)
    if quantization == "int8" and device.type == "cpu":
        quantize_int8(model)
    if quantization == "nf4":
        keep_nf4_portable(model)
    _leave_file(model)
    return model


def _leave_file(model: nn.Module) -> None:
    """Copy parameters that are still views of the mapped file, which a later write to it would change."""
    for parameter in model.parameters():
        if type(parameter) is nn.Parameter and parameter.device.type == "cpu":
            parameter.data = parameter.data.clone()


def _device(name: str | None) -> torch.device:
    if name is None:
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
    except RuntimeError:
        device = None
    if device is None or device.type not in ("cpu", "cuda"):
        raise ConfigError(f"device: {name!r} is not served (accepted: cpu, cuda, cuda:0 and so on)", field="device")
    if device.type == "cuda" and not torch.cuda.is_available():
        raise ConfigError(f"device: {name!r} asked for, but this machine has no usable CUDA device", field="device")
    return device


def _quantization(name: Quantization | None, device: torch.device) -> Quantization:
    if name is None:
        return "int8" if device.type == "cpu" else "nf4"
    if name not in get_args(Quantization):
        accepted = ", ".join(get_args(Quantization))
        raise ConfigError(f"quantization: {name!r} is unknown (accepted: {accepted})", field="quantization")
    return name


def _runtime_digest(base: str, quantization: Quantization, device: torch.device, dtype: torch.dtype) -> str:
    kernel = {"none": "torch", "int8": "int_mm" if device.type == "cpu" else "llm_int8", "nf4": "bitsandbytes"}
    text = "\n".join((base, quantization, str(dtype), f"{device.type}/{kernel[quantization]}"))
    return f"sha256:{hashlib.sha256(text.encode()).hexdigest()}"
