"""How far A's rows and B's columns are from orthonormal."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

if TYPE_CHECKING:
    from peft import PeftModel
    from torch import Tensor


def orthogonality(model: PeftModel) -> Tensor:
    """mean over all A and B of |A A^T - I|, |B^T B - I|, in the Frobenius norm; a scalar.

    A: [r, in], B: [out, r]; r is `init_r` of all of them, whatever ranks were taken away.
    """
    terms = []
    for name, tensor in model.named_parameters():
        if ".lora_A." in name or ".lora_B." in name:
            rows = tensor if ".lora_A." in name else tensor.T
            terms.append(torch.linalg.matrix_norm(rows @ rows.T - torch.eye(len(rows), device=rows.device)))
    return torch.stack(terms).mean()
