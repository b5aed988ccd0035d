"""How far a student is from its teacher."""

from __future__ import annotations

from torch import Tensor
from torch.nn import functional


def summed_divergence(student: Tensor, teacher: Tensor, temperature: float) -> Tensor:
    """`T^2 sum_t KL(p_t || q_t)`, `p_t = softmax(teacher_t / T)`, `q_t = softmax(student_t / T)`, in nats; a scalar.

    Both are logits [tokens, vocab]. Gradients through softened probabilities shrink as 1 / T^2; the factor
    makes up for it (Hinton, Vinyals, Dean: Distilling the Knowledge in a Neural Network, 2015, section 2).
    """
    log_q = functional.log_softmax(student / temperature, dim=-1)
    log_p = functional.log_softmax(teacher / temperature, dim=-1)
    return temperature**2 * functional.kl_div(log_q, log_p, reduction="sum", log_target=True)
