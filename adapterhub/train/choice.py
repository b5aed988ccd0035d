"""What is trained: a method with its options, by a preset or bare."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple, Self

from adapterhub.method import Method, MethodConfig
from adapterhub.plugins import installed_methods
from adapterhub.preset import TrainPreset


class Choice(NamedTuple):
    """A method, its options, and how it is trained."""

    preset: TrainPreset
    """The one that was named, or the bare method of that name."""
    method: Method[Any]
    options: MethodConfig

    @classmethod
    def of(cls, name: str, options: Mapping[str, Any]) -> Self:
        """What `name`, a method or a preset, means with these options.

        Raises MethodNotFoundError listing the known names, or ConfigError naming a wrong option.
        """
        methods = installed_methods()
        preset = methods.for_training(name)
        method = methods.get(preset.method)
        return cls(preset, method, method.Config.load(options, where=f"method {method.name}"))
