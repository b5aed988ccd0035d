"""A fresh adapter, or one that is trained on, on a base for as long as it trains, and the base given back as it was."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from peft import PeftModel

from adapterhub.peft import peft_config
from adapterhub.peft.quiet_peft import quiet_peft
from adapterhub.train.base_kept import BaseKept
from adapterhub.train.job import TrainJob
from adapterhub.train.run_base import RunBase
from adapterhub.train.stored_on import real_tokens_only
from adapterhub.train.take_over import take_over


@contextmanager
def attached(job: TrainJob) -> Iterator[PeftModel]:
    """The adapter that `job` asks for, where it starts, on the job's base, which is given back to the bit.

    One that is trained on is made as a fresh one is, so that the same learns, and gets its tensors then.

    Nothing of the base is cast, as k-bit preparation would: its norms and embeddings keep their
    dtype, and the adapter's tensors are in fp32.
    """
    config: Any = peft_config(job.method, job.options)
    if getattr(config, "tokenizer_name_or_path", None):  # PEFT reads it where virtual tokens start as a text
        config.tokenizer_name_or_path = job.base.tokenizer.name_or_path
    kept = BaseKept(job.base.model, job.targets() if job.method.saves_difference(job.options) else ())
    adapted: Any = None
    try:
        with quiet_peft():
            adapted = job.method.attach(job.options, config, RunBase(job))
        adapted.register_forward_hook(real_tokens_only, with_kwargs=True)
        kept.keep_learning()
        if job.adapter is not None and job.adapter.parent is not None:
            take_over(adapted, job.adapter.parent)
        yield adapted
    finally:
        kept.give_back(adapted)
