"""What is trained: a method with its options, by a preset or bare."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple, Self

from adapterhub.errors import ConfigError
from adapterhub.method import BaseShape, Method, MethodConfig
from adapterhub.plugins import installed_methods
from adapterhub.preset import TrainPreset
from adapterhub.train.config import DEFAULT_METHOD
from adapterhub.train.parent import Parent


class Choice(NamedTuple):
    """A method, its options, and how it is trained."""

    preset: TrainPreset
    """The one that was named, or the bare method of that name."""
    method: Method[Any]
    options: MethodConfig

    @classmethod
    def of(cls, name: str | None, options: Mapping[str, Any]) -> Self:
        """What `name`, a method or a preset, means with these options.

        Raises MethodNotFoundError listing the known names, or ConfigError naming a wrong option.
        """
        methods = installed_methods()
        preset = methods.for_training(name or DEFAULT_METHOD)
        method = methods.get(preset.method)
        return cls(preset, method, method.Config.load(options, where=f"method {method.name}"))

    @classmethod
    def after(cls, parent: Parent, name: str | None, options: Mapping[str, Any], shape: BaseShape) -> Self:
        """What goes on with `parent`: its own method and options, and its preset unless `name` is another of them.

        Raises ConfigError naming a method, or an option of `options`, that is not the parent's.
        """
        methods = installed_methods()
        goes_on = parent.method.continued(parent.options, parent.adapter.config, shape)
        method = methods.get(goes_on.method)
        own = method.Config.load(goes_on.options, where=f"method {method.name}")
        wanted = name or (parent.preset if parent.preset in methods.presets else parent.method.name)
        preset = methods.for_training(wanted)
        if preset.method not in (parent.method.name, method.name):
            raise ConfigError(
                f"method: {wanted!r} is not that of {parent.ref.label}, which is {parent.method.name} and stays so; "
                "leave it out",
                field="method",
            )
        if preset.method != method.name:
            preset = methods.for_training(method.name)
        given = method.Config.load({**goes_on.options, **options}, where=f"method {method.name}")
        for key in options:
            if getattr(given, key) != getattr(own, key):
                raise ConfigError(
                    f"{key}: {getattr(given, key)!r} is not that of {parent.ref.label}, which has "
                    f"{getattr(own, key)!r} and stays so; leave it out",
                    field=key,
                )
        return cls(preset, method, own)
