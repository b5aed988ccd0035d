"""PEFT without the notes that do not matter here."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def quiet_peft() -> Iterator[None]:
    """While it wraps a model, or merges what it wrapped."""
    with warnings.catch_warnings():
        # PEFT 0.21 asks transformers 5 for it whenever it wraps a model.
        warnings.filterwarnings("ignore", "`is_gradient_checkpointing` is deprecated", FutureWarning)
        # PEFT's LoRA finds GPT-2's transposed linears itself and says so.
        warnings.filterwarnings("ignore", "fan_in_fan_out is set to (False|True) but the target module")
        # PEFT's LN tuning asks every norm for its widths, by a function that knows none.
        warnings.filterwarnings("ignore", "Unsupported layer type .*Norm'>' encountered")
        # Notes of LoRA's on merging, which `adapterhub.merging` minds by itself.
        warnings.filterwarnings("ignore", "Model has `tie_word_embeddings=True`")
        warnings.filterwarnings("ignore", "`lora_bias=True` was passed but the targeted layer")
        yield
