"""An adapter's tensors kept as they are while a trainer is made."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any


@contextmanager
def tensors_kept(model: Any) -> Iterator[None]:
    """What learns is afterwards as it was, to the bit: TRL's trainers round it to bf16 on a base held in few bits."""
    learned = [(parameter, parameter.data) for parameter in model.parameters() if parameter.requires_grad]
    try:
        yield
    finally:
        for parameter, values in learned:
            if parameter.dtype != values.dtype:
                parameter.data = values
