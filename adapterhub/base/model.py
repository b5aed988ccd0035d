"""The frozen base model, loaded and quantized, with what identifies it."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Self, get_args

import torch
from transformers import AutoTokenizer

from adapterhub.adapter import BaseRecord
from adapterhub.base.digest import base_digest
from adapterhub.base.frozen import count_bytes, load_frozen
from adapterhub.base.original import OriginalWeights
from adapterhub.base.quantize import Quantization
from adapterhub.base.resolve import BaseFolder, resolve_base
from adapterhub.base.shape import read_shape
from adapterhub.base.weights_view import WeightsView
from adapterhub.errors import BaseNotFoundError, ConfigError
from adapterhub.ops import AdapterKernels, Kernels, chosen_cuda_kernels, chosen_kernels

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
    weights: WeightsView
    """Its weights, dequantized, one module at a time."""
    original: OriginalWeights
    """The same as its files have them."""
    kernels: Kernels | None = None
    """What computes on the CPU beside torch, where there is something."""
    adapter_kernels: AdapterKernels | None = None
    """What computes what adapters do to their rows beside torch, where there is something."""

    @property
    def row_dtype(self) -> torch.dtype:
        """What torch computes rows in outside the base's linear layers when serving: attention and adapters."""
        return row_dtype(self.quantization, self.device)

    @classmethod
    def load(cls, ref: str, *, quantization: Quantization | None = None, device: str | None = None) -> Self:
        """Load base `ref`: a built-in name, a folder, or a Hub id.

        By default on CUDA where there is one, as nf4 in bf16, else on the CPU, as int8 in fp32.
        Raises BaseNotFoundError, UnavailableError (the Hub), or ConfigError (device, quantization).
        """
        place = device_of(device)
        chosen = _quantization(quantization, place)
        dtype = compute_dtype(place)
        folder, shape = read_base(ref)
        digest = base_digest(folder.path)
        tokenizer = load_tokenizer(folder.path)
        kernels, adapter_kernels = kernels_on(place), adapter_kernels_on(place)
        model = load_frozen(folder.path, shape, chosen, place, dtype, kernels)
        return cls(
            model=model,
            tokenizer=tokenizer,
            shape=shape,
            record=BaseRecord(id=folder.id, revision=folder.revision, digest=digest),
            quantization=chosen,
            device=place,
            compute_dtype=dtype,
            runtime_digest=_runtime_digest(digest, chosen, place, dtype, adapter_kernels),
            weight_bytes=count_bytes(model),
            weights=WeightsView(model),
            original=OriginalWeights(folder.path, shape, model.base_model_prefix),
            kernels=kernels,
            adapter_kernels=adapter_kernels,
        )

    @staticmethod
    def read_tokenizer(ref: str) -> PreTrainedTokenizerBase:
        """The tokenizer of base `ref`, without reading a weight. Raises as `load`."""
        return load_tokenizer(resolve_base(ref, weights=False).path)


def read_base(ref: str) -> tuple[BaseFolder, BaseShape]:
    """Where base `ref` lies and its shape, without reading a weight. Raises as `BaseModel.load`."""
    folder = resolve_base(ref)
    return folder, read_shape(folder.path)


def compute_dtype(device: torch.device) -> torch.dtype:
    """What a base computes in: bf16 but on a CPU, where it loses to fp32."""
    return torch.float32 if device.type == "cpu" else torch.bfloat16


def kernels_on(device: torch.device) -> Kernels | None:
    """The native kernels for a device; None where torch computes everything. Raises ConfigError for wrong settings."""
    return chosen_kernels().kernels if device.type == "cpu" else None


def adapter_kernels_on(device: torch.device) -> AdapterKernels | None:
    """The same for what adapters do to their rows, which there are kernels for on CUDA too."""
    return kernels_on(device) if device.type == "cpu" else chosen_cuda_kernels(device).kernels


def row_dtype(quantization: Quantization, device: torch.device) -> torch.dtype:
    """What torch computes rows in outside the linear layers of a base that is held so.

    On the CPU's int8 base fp64, rounded once to fp32: the sums of a row's neighbours change how a
    matmul is blocked and so its last bit, and rounding to int8 turns a last bit into whole units.
    With it a row is the same to the bit in any batch.
    """
    return torch.float64 if quantization == "int8" and device.type == "cpu" else torch.float32


def load_tokenizer(folder: Path) -> PreTrainedTokenizerBase:
    """The tokenizer in a base's folder. Raises BaseNotFoundError when there is none that can be used."""
    try:
        tokenizer: PreTrainedTokenizerBase = AutoTokenizer.from_pretrained(folder, trust_remote_code=False)
    except (OSError, ValueError) as error:
        raise BaseNotFoundError(f"{folder}: no usable tokenizer: {error}", resource=str(folder)) from None
    return tokenizer


def device_of(name: str | None) -> torch.device:
    """The device of that name; by default CUDA where there is one. Raises ConfigError."""
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


def _runtime_digest(
    base: str, quantization: Quantization, device: torch.device, dtype: torch.dtype, kernels: AdapterKernels | None
) -> str:
    kernel = {"none": "torch", "int8": "int_mm" if device.type == "cpu" else "llm_int8", "nf4": "bitsandbytes"}
    text = "\n".join((base, quantization, str(dtype), f"{device.type}/{kernel[quantization]}"))
    text += f"\n{kernels.digest}" if kernels else ""
    return f"sha256:{hashlib.sha256(text.encode()).hexdigest()}"
