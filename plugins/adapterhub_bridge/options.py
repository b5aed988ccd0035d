"""A PEFT type's own config class as the options of a method."""

from __future__ import annotations

import dataclasses
import warnings
from collections.abc import Mapping
from functools import cache
from typing import Any, ClassVar, Self, get_type_hints

from peft import PeftConfig
from peft.mapping import PEFT_TYPE_TO_CONFIG_MAPPING
from pydantic import ConfigDict, Field, create_model, model_validator

from adapterhub import BaseShape, ConfigError, MethodConfig, by_pattern, select_modules

UNSERVED = {"bias": "none", "modules_to_save": None}
"""Options that reach beyond the method's own layers, and what they must be."""
MAX_NUMBER = 1 << 20
"""Of a rank, a number of frequencies or the like."""
MAX_PATTERNS = 512
"""As many as `re`, which PEFT matches them with, keeps compiled."""


class PeftOptions(MethodConfig):
    """Base of the generated classes: every option of PEFT's, checked by PEFT."""

    model_config = ConfigDict(arbitrary_types_allowed=True)

    peft_class: ClassVar[type[PeftConfig]]

    def peft(self, shape: BaseShape) -> PeftConfig:
        """PEFT's config with the target modules by their whole names.

        Raises ConfigError when they match nothing, listing what there is.
        """
        targets = self.targets(shape)
        for name, value in self.model_dump().items():
            if name.endswith("_pattern") and isinstance(value, dict):  # tried before PEFT does, which has no time limit
                if len(value) > MAX_PATTERNS:
                    raise ConfigError(f"{name}: {len(value)} patterns, at most {MAX_PATTERNS} are served", field=name)
                for pattern in value:
                    any(by_pattern({pattern: True}, module, False) for module in shape.modules)
        return self._made(**self.model_dump() | {"target_modules": targets})

    def targets(self, shape: BaseShape) -> list[str]:
        """The target modules' whole names."""
        values = self.model_dump()
        wanted = values["target_modules"]
        if wanted is None:
            raise ConfigError("target_modules: none given; need names, or all-linear", field="target_modules")
        return select_modules(
            wanted if isinstance(wanted, str) else tuple(wanted),
            shape,
            field_name="target_modules",
            exclude=_names(values.get("exclude_modules")),
            layers=_numbers(values.get("layers_to_transform")),
            layers_pattern=_names(values.get("layers_pattern")),
        )

    @classmethod
    def from_peft(cls, values: Mapping[str, Any], *, where: str) -> Self:
        """Read the options of a saved adapter; what is absent is PEFT's default."""
        return super().from_peft({"target_modules": None, **values}, where=where)

    @model_validator(mode="after")
    def _as_peft_has_it(self) -> Self:
        for name, served in UNSERVED.items():
            if getattr(self, name, served) not in (served, None, [], "none"):
                raise ValueError(f"{name}={getattr(self, name)!r} is not served by this method")
        for name, value in self:
            if "seed" not in name and _is_huge(value):
                raise ValueError(f"{name}: accepted are numbers up to {MAX_NUMBER}")
        self._made(**self.model_dump())
        return self

    @classmethod
    def _made(cls, **values: Any) -> PeftConfig:
        """Raises ValueError with PEFT's own words for options it does not take."""
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            try:
                return cls.peft_class(task_type="CAUSAL_LM", **values)
            except TypeError as error:
                raise ValueError(str(error)) from None


@cache
def options_class(peft_type: str) -> type[PeftOptions]:
    """The options of a PEFT type, with PEFT's names, defaults and help; every linear module by default."""
    chosen: Any = PEFT_TYPE_TO_CONFIG_MAPPING[peft_type]  # type: ignore[index]
    common = {field.name for field in dataclasses.fields(PeftConfig)}
    hints = get_type_hints(chosen)
    fields: dict[str, Any] = {}
    for field in dataclasses.fields(chosen):
        if field.name not in common:
            help_text = str(field.metadata.get("help", ""))
            default: Any = Field(default=field.default, description=help_text)
            if field.name == "target_modules":
                default = Field(default="all-linear", description=help_text)
            elif field.default_factory is not dataclasses.MISSING:
                default = Field(default_factory=field.default_factory, description=help_text)
            fields[field.name] = (hints[field.name], default)
    made = create_model(f"{chosen.__name__}Options", __base__=PeftOptions, __doc__=chosen.__doc__, **fields)
    made.peft_class = chosen
    return made


def _is_huge(value: Any) -> bool:
    numbers = value.values() if isinstance(value, dict) else (value,)
    return any(isinstance(number, int | float) and not abs(number) <= MAX_NUMBER for number in numbers)


def _names(found: Any) -> Any:
    return found if isinstance(found, str) else tuple(found or ())


def _numbers(found: Any) -> Any:
    return tuple(found) if isinstance(found, list) else found
