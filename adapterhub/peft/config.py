"""A method's options as a PEFT config class, so that `adapter_config.json` carries their names."""

from __future__ import annotations

import dataclasses
from functools import partial
from typing import Any, ClassVar

from peft import PeftConfig
from pydantic.fields import FieldInfo

from adapterhub.method import Method, MethodConfig


@dataclasses.dataclass
class SiteConfig(PeftConfig):
    """Base of the generated classes. Raises ConfigError when it is made with a wrong option."""

    method: ClassVar[Method[Any]]

    def __post_init__(self) -> None:
        super().__post_init__()  # type: ignore[no-untyped-call]
        self.peft_type = self.method.peft_type  # PEFT's own are an enum; a string works
        self.options()

    def options(self) -> MethodConfig:
        """The method's own options. Raises ConfigError naming a wrong one."""
        values = {name: getattr(self, name) for name in self.method.Config.model_fields}
        result: MethodConfig = self.method.Config.load(values, where=self.method.name)
        return result


def config_class(method: Method[Any]) -> type[SiteConfig]:
    """A config class with one field for each option of `method`."""
    fields = [(name, Any, _field(info)) for name, info in method.Config.model_fields.items()]
    namespace = {"method": method, "__doc__": method.Config.__doc__}
    return dataclasses.make_dataclass(
        f"{type(method).__name__}SiteConfig", fields, bases=(SiteConfig,), namespace=namespace
    )


def _field(info: FieldInfo) -> Any:
    # PEFT's own fields have defaults, so a required option starts as None and the check names it.
    if info.is_required():
        return dataclasses.field(default=None)
    return dataclasses.field(default_factory=partial(info.get_default, call_default_factory=True))
