"""An adapter as it started, kept while it trains."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from peft import PeftModel


@contextmanager
def start_kept(model: PeftModel, *, needed: bool) -> Iterator[Path | None]:
    """The folder of the adapter on `model` as it is now; None where it is not needed.

    A start that rewrote the base took its first value out of the weights, and one that makes up for
    quantization found it in what the weights lost: PEFT saves what was trained as the difference to it
    (`path_initial_model_for_weight_conversion`).
    """
    if not needed:
        yield None
        return
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch) / "start"
        model.save_pretrained(str(folder), save_embedding_layers=False)
        yield folder
