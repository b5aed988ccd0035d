"""A stored adapter on a base for as long as it is needed there."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from peft import PeftModel
from torch import Tensor

from adapterhub.adapter import Adapter
from adapterhub.base import BaseModel
from adapterhub.peft.quiet_peft import quiet_peft
from adapterhub.plugins import fit, installed_methods, understand
from adapterhub.train.base_kept import BaseKept


@contextmanager
def stored_on(base: BaseModel, adapter: Adapter) -> Iterator[PeftModel]:
    """A stored adapter on a base, frozen and in eval mode; the base is given back to the bit.

    Raises BaseMismatchError when it is another base's, and UnsupportedAdapterError for what no method serves.
    """
    adapter.check_base(base.record)
    method, config = understand(adapter, installed_methods())
    fit(adapter, method, config, base.shape, base=base.record.id)
    kept = BaseKept(base.model)
    kept.keep_overwritten(adapter.tensors)
    adapted: Any = None
    try:
        with quiet_peft(), TemporaryDirectory() as folder:
            adapter.copy_to(Path(folder))
            adapted = PeftModel.from_pretrained(base.model, folder)
        adapted.register_forward_hook(real_tokens_only, with_kwargs=True)
        yield adapted.eval()
    finally:
        kept.give_back(adapted)


def real_tokens_only(model: Any, args: tuple[Any, ...], kwargs: dict[str, Any], output: Any) -> Any:
    """Logits of the tokens that were given, without PEFT's virtual ones in front of them.

    So that whatever trainer counts positions from the front counts the same ones under every method.
    """
    ids = kwargs.get("input_ids", args[0] if args else None)
    logits = getattr(output, "logits", None)  # none where log-probabilities were asked for in their place
    if isinstance(ids, Tensor) and logits is not None and logits.shape[1] > ids.shape[1]:
        output.logits = logits[:, -ids.shape[1] :]
    return output
