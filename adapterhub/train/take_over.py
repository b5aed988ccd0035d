"""A fresh adapter becomes the one that a run goes on with."""

from __future__ import annotations

import torch
from peft import PeftModel, get_peft_model_state_dict, set_peft_model_state_dict
from torch import Tensor

from adapterhub.errors import UnsupportedAdapterError
from adapterhub.peft.quiet_peft import quiet_peft
from adapterhub.train.parent import Parent


def take_over(adapted: PeftModel, parent: Parent) -> None:
    """Put the parent's tensors into the adapter on `adapted`, which was made with its options; what learns stays so.

    Strict: its file fitted the plan before, and here every tensor of it is found again in the model, bit by bit in
    the model's dtype. Raises UnsupportedAdapterError naming the first that is not.
    """
    tensors = parent.adapter.read_tensors()
    for key in sorted(tensors.keys() - _saved(adapted).keys()):
        _check_copy(adapted.state_dict().get(key), tensors.pop(key), f"{parent.ref.label}: tensor {key}")
    for key in sorted(_saved(adapted).keys() - tensors.keys()):
        raise UnsupportedAdapterError(f"{parent.ref.label}: tensor {key} is not in its file, and would start anew")
    with quiet_peft():
        set_peft_model_state_dict(adapted, dict(tensors))
    for key, held in _saved(adapted).items():
        if held.shape != tensors[key].shape or not torch.equal(held, tensors[key].to(held)):
            raise UnsupportedAdapterError(f"{parent.ref.label}: tensor {key} is not what PEFT trains on of it")


def _saved(adapted: PeftModel) -> dict[str, Tensor]:
    """What a file of the adapter holds, by the names on disk."""
    with quiet_peft():
        found: dict[str, Tensor] = get_peft_model_state_dict(adapted, save_embedding_layers=False)
    return found


def _check_copy(own: Tensor | None, copied: Tensor, what: str) -> None:
    """PEFT saves a copy of a base's table beside its update; it is right as long as it is that."""
    rounded = (copied, copied.bfloat16(), copied.half())
    if own is None or not any(torch.equal(own, each.to(own)) for each in rounded):
        raise UnsupportedAdapterError(f"{what} is no part of what trains, and not the base's own either")
