"""How far a student is from its teacher."""

from __future__ import annotations

import math

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


def summed_jensen_shannon(student: Tensor, teacher: Tensor, beta: float, temperature: float) -> Tensor:
    """`sum_t beta KL(p_t || m_t) + (1 - beta) KL(q_t || m_t)`, `m = beta p + (1 - beta) q`, in nats; a scalar.

    p and q as above. With beta 0 it is `sum_t KL(p_t || q_t)` and with 1 `sum_t KL(q_t || p_t)` (Agarwal et al.,
    On-Policy Distillation of Language Models, 2024, equation 1 and section 3).
    """
    log_q = functional.log_softmax(student / temperature, dim=-1)
    log_p = functional.log_softmax(teacher / temperature, dim=-1)
    if beta in (0, 1):
        of, to = (log_p, log_q) if beta == 0 else (log_q, log_p)
        return functional.kl_div(to, of, reduction="sum", log_target=True)
    log_m = (log_p + math.log(beta)).logaddexp(log_q + math.log1p(-beta))
    to_teacher, to_student = (
        functional.kl_div(log_m, log_of, reduction="sum", log_target=True) for log_of in (log_p, log_q)
    )
    return beta * to_teacher + (1 - beta) * to_student
