"""The objective contract: what training is to reach, over adapters of any method.

An objective turns records into rows and says how an optimizer step learns from them. Most are a
loss over tokens: a `LossObjective`, whose steps the core makes. The others bring a trainer of
their own (TRL's, say) and derive from `Objective`. In the order of a run: `refuses` before the
base is loaded, `prepare` with the bare base, `fitting` once the adapter is on it and stands where
it starts.

Settings, plugins, validation, checkpoints, progress and the record are the core's.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar, Generic, Protocol, TypeVar

from adapterhub.base_shape import BaseShape
from adapterhub.config import Config
from adapterhub.encoder import IGNORED, Encoder, Example, Row, Turns
from adapterhub.method import Method, MethodConfig
from adapterhub.prompt_format import FormatKind
from adapterhub.records import Record

if TYPE_CHECKING:
    import torch
    from peft import PeftModel
    from torch import Tensor
    from transformers import Trainer, TrainingArguments

__all__ = [
    "IGNORED",
    "Encoder",
    "Example",
    "Fitting",
    "LossObjective",
    "Objective",
    "ObjectiveBase",
    "ObjectiveConfig",
    "Record",
    "Row",
    "Run",
    "Turns",
    "on_head",
]


class ObjectiveBase(Protocol):
    """The bare base of a run, before it has the adapter."""

    @property
    def model(self) -> Any:
        """The frozen transformers model, in eval mode."""

    @property
    def device(self) -> torch.device:
        """Where it computes."""

    @property
    def vocab_size(self) -> int:
        """The width of its logits."""

    def adapted(self, ref: str) -> AbstractContextManager[Any]:
        """The base with an adapter of the store on it, frozen, for a while. Raises as `Store.resolve` and the check."""


class Run(Protocol):
    """A run once its adapter is on the base and stands where it starts."""

    @property
    def model(self) -> PeftModel:
        """The base with the adapter that learns. Its logits are those of the real tokens alone."""

    @property
    def method(self) -> Method[Any]: ...

    @property
    def options(self) -> MethodConfig: ...

    @property
    def encoder(self) -> Encoder:
        """The tokenizer and the prompt format, and the limits of the run."""

    @property
    def batch_size(self) -> int:
        """Rows that a device sees at once."""

    @property
    def seed(self) -> int: ...

    @property
    def device(self) -> torch.device: ...


@dataclass(frozen=True)
class Fitting:
    """The trainer of a run. The core derives from it, and adds the model, the rows and the run's own settings."""

    trainer: type[Trainer]
    arguments: type[TrainingArguments]
    settings: Mapping[str, Any] = field(default_factory=dict)
    """Fields of `arguments` that are the objective's; they win over the run's."""
    keywords: Mapping[str, Any] = field(default_factory=dict)
    """What else `trainer` is made with, such as its collator."""


class ObjectiveConfig(Config):
    """Base of an objective's options."""


C = TypeVar("C", bound=ObjectiveConfig)


class Objective(ABC, Generic[C]):
    """One objective. Subclass, set the class attributes, and give `prepare` and `fitting`.

    Each run has a copy of its own: what `prepare` finds out may stay on it for the steps.
    """

    name: ClassVar[str]
    """What users type: `--objective dpo`."""
    Config: type[C]
    """Its own options: `-O beta=0.1`."""
    records: ClassVar[tuple[type[Record], ...]]
    """The kinds of records it learns from."""
    prompt_format: ClassVar[FormatKind | None] = None
    """The format of the prompts that it trains, where there is one only."""
    measure: ClassVar[str] = "eval_loss"
    """What of the trainer's validation chooses the best adapter."""
    greater_is_better: ClassVar[bool] = False
    """Whether a higher `measure` is better."""
    summary: ClassVar[str]
    """What it does, in a line of the docs."""
    whole: ClassVar[bool] = False
    """Whether all of a base may learn so (`--method full`): `Run.model` is then the base itself, with no adapter to
    switch off, and `Run.method` and `Run.options` are not there to be asked for."""

    def refuses(self, config: C, method: Method[Any], options: MethodConfig | None, shape: BaseShape | None) -> str:
        """Why an adapter of `method` is not trained so; empty where it is.

        Asked before the base is loaded; for the table of what goes with what, without `options` and `shape`.
        """
        return ""

    def record(self, config: C) -> dict[str, Any]:
        """What of its options goes into the adapter's record, once the run is over: no paths of this machine."""
        return config.model_dump(mode="json")

    @abstractmethod
    def prepare(self, config: C, records: Sequence[Any], encoder: Encoder, base: ObjectiveBase) -> list[Any]:
        """The trainer's rows of one side of the data; called for the training side, then for what is held out.

        Raises DataError (by `encoder.error`) naming the record that cannot be used, and ConfigError.
        """

    @abstractmethod
    def fitting(self, config: C, run: Run) -> Fitting:
        """The trainer. It is called before the first step, also of a run that is resumed."""

    def tokens(self, row: Any) -> Sequence[int]:
        """The token ids of a training row, for what looks at the data before the first step."""
        ids: Sequence[int] = row["input_ids"]
        return ids

    def steps(self, config: C, examples: int, batch_size: int) -> int:
        """Optimizer steps of one pass over so many examples, `batch_size` in each."""
        return math.ceil(examples / batch_size)


class LossObjective(Objective[C]):
    """A loss over tokens, on rows of token ids. Give `encode`; and `loss`, where it is not the cross entropy.

    One whose records are not a row each gives `prepare` in place of `encode`: a list of rows with
    `input_ids` and `labels` at least, as in `Example`, none of them longer than `encoder.limit`.
    """

    whole = True

    def encode(self, config: C, record: Any, encoder: Encoder) -> Example:
        """The row of one record, of any length. Raises DataError naming it."""
        # No default could be right; not abstract, for an objective that gives `prepare` has no row for a single record.
        raise NotImplementedError("gives neither encode nor prepare")

    def prepare(self, config: C, records: Sequence[Any], encoder: Encoder, base: ObjectiveBase) -> list[Any]:
        """`encode`'s rows, of which those that are too long are refused, cut or left out, as the run says."""
        encoded = ((self.encode(config, record, encoder), record.line) for record in records)
        return [row for example, line in encoded for row in encoder.fitted([example], line)]

    def fitting(self, config: C, run: Run) -> Fitting:
        """Never called: the core makes the steps."""
        # Concrete, so that a loss is all that a plugin writes; whoever calls it took the loss for a trainer.
        raise NotImplementedError("the steps of a LossObjective are the core's")

    def collate(self, config: C, rows: Sequence[Any]) -> dict[str, Tensor]:
        """One batch: `input_ids`, `attention_mask` and `labels` at least, [rows, longest], padded on the right."""
        from adapterhub import collate

        return collate(rows)

    def loss(self, config: C, run: Run, model: Any, batch: Mapping[str, Tensor]) -> Tensor:
        """The sum over the batch's learned tokens (labels that are not IGNORED) of the loss, in nats; a scalar.

        Called in training and for the validation loss, in eval mode; the core divides by the number of tokens.
        """
        from adapterhub import summed_loss

        return summed_loss(model, batch)


def on_head(method: Method[Any], options: MethodConfig | None, shape: BaseShape | None) -> str:
    """Why a trainer that reads the head's own weight, as TRL's do, trains `method` wrong; empty where it does not."""
    if method.peft_type == "CPT":
        return "PEFT weighs its loss by itself, from logits that are not made here"
    if options is None or shape is None:
        return ""
    acted_on = {site.module for site in method.plan(options, shape).sites}
    if shape.lm_head not in acted_on:
        return ""
    return f"the adapter acts on {shape.lm_head}, whose own weight gives the probabilities here; leave it out"
