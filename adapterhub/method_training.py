"""What a method may do about its training, beside its mathematics.

Each function has a default, which most methods keep. In the order of a run: `scheduled` before the
base is loaded, `attach`, then for every step `extra_loss` and `stepped`; `training_state` goes into
every checkpoint, `complete_from` says which may be published, `saves_difference` what is saved.
An adapter that is trained on (`--init-from`) is `continued` first.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, ClassVar, Generic, NamedTuple, Protocol, TypeVar

from adapterhub.training_defaults import TrainDefaults

if TYPE_CHECKING:
    from peft import PeftConfig, PeftModel
    from torch import Tensor

    from adapterhub.base_shape import BaseShape


class Continued(NamedTuple):
    """As what a saved adapter is trained on."""

    method: str
    """The name of the method that takes over its tensors as they are."""
    options: Mapping[str, Any]
    """Its options: with them a new adapter has tensors of the same names and shapes."""


class TrainingBase(Protocol):
    """The base of a run, before it has the adapter: what a start may be computed from."""

    @property
    def model(self) -> Any:
        """The frozen transformers model, in eval mode."""

    @property
    def targets(self) -> list[str]:
        """The modules that the adapter's plan acts on, by their names in the model."""

    def weight(self, module: str) -> Tensor:
        """A linear module's weight as the base computes with it, dequantized: fp32 [out, in]."""

    def original(self, module: str) -> Tensor:
        """The same weight as the base's files have it: fp32 [out, in], on the CPU.

        Raises BaseNotFoundError when they have it under another name.
        """

    def see_examples(self) -> None:
        """Run the model over some of the training examples, a few hundred at most, one in each call."""


C = TypeVar("C")


class MethodTraining(Generic[C]):
    """The part of `Method` that is called while it trains."""

    training_defaults: TrainDefaults = TrainDefaults(learning_rate=1e-3, source="adapterhub's own")
    """What a run takes for the settings that neither the user nor a preset gives."""
    name: ClassVar[str]

    def continued(self, config: C, saved: Mapping[str, Any], shape: BaseShape) -> Continued:
        """As what a saved adapter with `config` is trained on; `saved` is its `adapter_config.json`.

        By default as what it is. A method that saves other tensors than it trains names the one that
        trains those; an option that matters in training only is not in `config` (`neutral`), and is
        taken from `saved` where it decides what learns. However it started is of no account any more.
        """
        options: Any = config
        return Continued(self.name, dict(options))

    def scheduled(self, config: C, steps: int) -> C:
        """The options of a run of so many optimizer steps, where some follow from their number.

        Raises ConfigError naming an option that does not go with it.
        """
        return config

    def attach(self, config: C, peft_config: PeftConfig, base: TrainingBase) -> PeftModel:
        """A new adapter on `base.model`.

        For a method of PEFT's whose first values take more than PEFT's config. What it leaves on the
        base's modules is taken off them at the end of the run. Raises ConfigError naming the option
        that asks for what cannot be computed.
        """
        from peft import get_peft_model

        adapted: PeftModel = get_peft_model(base.model, peft_config)
        return adapted

    def saves_difference(self, config: C) -> bool:
        """Whether the adapter starts as something other than nothing on the base's original weights.

        What is saved is then the difference to its start, as PEFT converts it. A start may rewrite
        weights that the base holds floating; they are put back.
        """
        return False

    def extra_loss(self, config: C, model: PeftModel) -> Tensor | None:
        """A term of the method's own, a scalar, added to the mean loss of each step; never in the validation loss."""
        return None

    def stepped(self, config: C, model: PeftModel, step: int) -> None:
        """Called after optimizer step `step`, counted from 1, while its gradients are still there."""

    def training_state(self, config: C, model: PeftModel) -> Mapping[str, Tensor]:
        """What a run needs to go on beside the trainable tensors, by names of the method's own.

        The core keeps the trainable tensors, the optimizer, the schedule and the random generators
        themselves; of the rest, whatever later steps depend on, such as running means.
        """
        return {}

    def restore_training_state(self, config: C, model: PeftModel, state: Mapping[str, Tensor]) -> None:
        """Put back what `training_state` gave, on the CPU now, once the trainable tensors are back."""

    def complete_from(self, config: C) -> int:
        """The first optimizer step after which the adapter is what its options say.

        A validation before it chooses no adapter to publish, and does not stop the run.
        """
        return 0
