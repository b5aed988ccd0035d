"""A method that PEFT has and no plugin of its own serves: PEFT's layers, run over the engine's base.

The plan is what PEFT saves. To serve, PEFT makes its layers around the base's linear modules, with
weights that are borrowed: a product with one is the module's own, computed by the engine once for
all rows, or once more for rows that a layer has changed. Where the mathematics reads the weight
itself, the base must hold it in floating point.

What is not covered: trained biases, modules saved whole, and modules that are not linear.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cached_property
from typing import TYPE_CHECKING

from adapterhub import BaseShape, Method, Op, Params, Site, TrainDefaults
from adapterhub.method import EVERY_BASE, BaseWeights

if TYPE_CHECKING:
    from adapterhub_bridge.layer_op import WeightUse
    from adapterhub_bridge.options import PeftOptions


class Bridged(Method["PeftOptions"]):
    """Trained and computed by PEFT's own layers."""

    in_peft = True

    def __init__(
        self,
        peft_type: str,
        served_on: frozenset[str] = EVERY_BASE,
        *,
        weight: WeightUse = "own",
        needs_bias: bool = False,
        learning_rate: float | None = None,
    ) -> None:
        """`needs_bias`: what it adds is merged into the modules' biases. `learning_rate`: of PEFT's comparison."""
        if learning_rate is not None:
            self.training_defaults = TrainDefaults(learning_rate, source="PEFT's method comparison")
        self.served_on = served_on
        self.trained_on = type(self).trained_on & served_on
        self._needs_bias = needs_bias
        self._weight: WeightUse = weight
        self.name = peft_type.lower()  # type: ignore[misc]
        self.peft_type = peft_type  # type: ignore[misc]

    @cached_property
    def Config(self) -> type[PeftOptions]:  # type: ignore[override]  # noqa: N802
        """Made when it is first asked for: it needs PEFT, which is slow to import."""
        from adapterhub_bridge.options import options_class

        return options_class(self.peft_type)

    def sites(self, config: PeftOptions, shape: BaseShape) -> list[Site]:
        """One shared site with all that PEFT saves, and a module site for each of PEFT's layers."""
        from adapterhub_bridge.build import planned

        params, modules = planned(config.peft(shape), shape)
        return [Site("shared", params), *(Site("module", {}, module=name) for name in modules)]

    def check_training(self, config: PeftOptions, shape: BaseShape, quantization: str) -> None:
        """Raises ConfigError for a base that the method is not served on, and for targets that match nothing."""
        self.check_continuing(config, shape, quantization)
        config.targets(shape)

    def ops(
        self, config: PeftOptions, shape: BaseShape, sites: Mapping[str, tuple[Site, Params]], base: BaseWeights
    ) -> Mapping[str, Op]:
        """PEFT's layers, with the adapter's tensors in them, each tried before it serves."""
        from adapterhub_bridge.build import layer_ops

        _, tensors = next(iter(sites.values()))
        return layer_ops(config.peft(shape), shape, tensors, base, self._weight)

    def unmergeable(self, config: PeftOptions, shape: BaseShape) -> str:
        if self._needs_bias and not all(shape.modules[name].bias for name in config.targets(shape)):
            return "it needs a bias to be merged into, and a targeted module has none"
        return ""

    def key(self, site: Site, param: str) -> str:
        return param
