"""A fresh adapter becomes the one that a run goes on with."""

from __future__ import annotations

from typing import Any

import torch
from peft import PeftModel, get_peft_model_state_dict, set_peft_model_state_dict
from torch import Tensor

from adapterhub.errors import UnsupportedAdapterError
from adapterhub.method import BaseShape
from adapterhub.peft.quiet_peft import quiet_peft
from adapterhub.train.parent import Parent


def take_over(adapted: PeftModel, parent: Parent, shape: BaseShape) -> None:
    """Put the parent's tensors into the adapter on `adapted`, which was made with its options; what learns stays so.

    Strict: its file fitted the plan before, and here every tensor of it is found again in the model, bit by bit in
    the model's dtype. Raises UnsupportedAdapterError naming the first that is not.
    """
    tensors = parent.adapter.read_tensors()
    for key in parent.copies(shape):
        if (copied := tensors.pop(key, None)) is not None:
            _check_copy(adapted.state_dict()[key], copied, f"{parent.ref.label}: tensor {key}")
    with quiet_peft():
        set_peft_model_state_dict(adapted, dict(tensors))
        kept: dict[str, Tensor] = get_peft_model_state_dict(adapted, save_embedding_layers=False)
    for key in sorted(tensors.keys() | kept.keys()):
        if key not in tensors or key not in kept or not _same(kept[key], tensors[key]):
            raise UnsupportedAdapterError(f"{parent.ref.label}: tensor {key} is not what is trained on of it")


def _same(held: Tensor, read: Tensor) -> bool:
    return held.shape == read.shape and torch.equal(held, read.to(held))


def _check_copy(own: Tensor, copied: Tensor, what: str) -> None:
    """PEFT saves a copy of a base's table beside its update; it is right as long as it is that."""
    rounded: tuple[Any, ...] = (copied, copied.bfloat16(), copied.half())
    if not any(_same(own, each) for each in rounded):
        raise UnsupportedAdapterError(f"{what} differs from the base's own; need it trained in modules_to_save")
