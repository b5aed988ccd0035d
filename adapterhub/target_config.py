"""Options that many methods of PEFT's share: which modules an adapter acts on, and with what rank."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any, ClassVar, Self

from pydantic import Field, NonNegativeInt, ValidationInfo, field_validator, model_validator

from adapterhub.errors import ConfigError
from adapterhub.method import BaseShape, MethodConfig, ModuleKind
from adapterhub.pattern import check_pattern
from adapterhub.select import LINEAR_KINDS, Names, by_pattern, select_modules

MAX_RANK = 4096


class TargetConfig(MethodConfig):
    """Options of a method that acts on named modules, under PEFT's names and with PEFT's meaning."""

    target_modules: Names = Field(default="all-linear", min_length=1)
    """A list of names (q_proj, down_proj), a regular expression for whole names, or all-linear: all but the head."""
    exclude_modules: Names | None = None
    """Modules left out of those: a list of names, or a regular expression."""
    layers_to_transform: NonNegativeInt | tuple[NonNegativeInt, ...] | None = None
    """Numbers of the decoder layers that listed names are looked for in; by default all."""
    layers_pattern: Names | None = None
    """Name of the list of decoder layers, where a model has several numbered lists."""

    def targets(
        self, shape: BaseShape, *, kinds: Collection[ModuleKind] = LINEAR_KINDS, saved: tuple[str, ...] = ()
    ) -> list[str]:
        """The modules to act on, in model order; `saved` names those that are saved whole instead.

        Raises ConfigError as `select_modules`.
        """
        return select_modules(
            self.target_modules,
            shape,
            field_name="target_modules",
            kinds=kinds,
            exclude=self.exclude_modules or (),
            saved=saved,
            layers=self.layers_to_transform,
            layers_pattern=self.layers_pattern or (),
        )

    def check_names(self, shape: BaseShape, *, kinds: Collection[ModuleKind] = LINEAR_KINDS) -> None:
        """Raises ConfigError for a listed name that matches nothing: usual in a saved list, a slip in a new one."""
        for name in self.target_modules if isinstance(self.target_modules, tuple) else ():
            select_modules((name,), shape, field_name="target_modules", kinds=kinds)

    @classmethod
    def from_peft(cls, values: Mapping[str, Any], *, where: str) -> Self:
        """Read the options of a saved adapter; absent targets are PEFT's choice by family, and refused.

        Raises UnsupportedAdapterError naming the first option that has an effect we do not serve.
        """
        return super().from_peft({"target_modules": None, **values}, where=where)

    def to_peft(self) -> dict[str, Any]:
        """The options as PEFT takes them: lists, not tuples."""
        return self.model_dump(mode="json")

    @field_validator("target_modules", "exclude_modules")
    @classmethod
    def _readable(cls, value: Names | None) -> Names | None:
        return check_pattern(value) if isinstance(value, str) else value

    @field_validator("layers_pattern")
    @classmethod
    def _all_readable(cls, value: Names | None) -> Names | None:
        """PEFT takes each name for a regular expression."""
        for name in (value,) if isinstance(value, str) else value or ():
            check_pattern(name)
        return value

    @model_validator(mode="after")
    def _layers_of_listed_names(self) -> Self:
        """What PEFT refuses together."""
        if isinstance(self.target_modules, str) and self.layers_to_transform is not None:
            raise ValueError("layers_to_transform needs target_modules as a list of names")
        if self.layers_pattern and self.layers_to_transform is None:
            raise ValueError("layers_pattern needs layers_to_transform")
        return self


class RankConfig(TargetConfig):
    """Options of a method whose update of a module has a rank."""

    max_rank: ClassVar[int] = MAX_RANK
    """Of any module."""

    r: int = Field(default=8, ge=1, le=MAX_RANK)
    """Rank of the update."""
    rank_pattern: dict[str, int] = Field(default_factory=dict)
    """Ranks of single modules: {"regular expression for the end of a name": rank}."""
    alpha_pattern: dict[str, float] = Field(default_factory=dict)
    """Alphas of single modules, likewise."""

    def rank(self, module: str) -> int:
        return by_pattern(self.rank_pattern, module, self.r)

    def check_names(self, shape: BaseShape, *, kinds: Collection[ModuleKind] = LINEAR_KINDS) -> None:
        """Raises ConfigError for a listed name, or a pattern, that matches nothing."""
        super().check_names(shape, kinds=kinds)
        there = ", ".join(
            sorted({name.rsplit(".", 1)[-1] for name, module in shape.modules.items() if module.kind in kinds})
        )
        for field in ("rank_pattern", "alpha_pattern"):
            for pattern in getattr(self, field):
                if not any(by_pattern({pattern: True}, name, False) for name in shape.modules):
                    raise ConfigError(
                        f"{field}: {pattern!r} matches no module of {shape.architecture}; there are: {there}",
                        field=field,
                    )

    @field_validator("rank_pattern", "alpha_pattern")
    @classmethod
    def _in_order(cls, value: dict[str, Any], info: ValidationInfo) -> dict[str, Any]:
        """Sorted, as PEFT saves them: the first that matches decides."""
        ranks = info.field_name == "rank_pattern"
        for pattern, number in value.items():
            check_pattern(pattern)
            if number <= 0 or (ranks and number > MAX_RANK):
                accepted = f"1 to {MAX_RANK}" if ranks else "greater than 0"
                raise ValueError(f"{pattern!r} has {number}; accepted: {accepted}")
        return dict(sorted(value.items()))
