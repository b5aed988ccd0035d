"""Trainable tokens: some rows of the embedding table are the adapter's own.

    embedding       y[i] = E[t] where the token x[i] is the t-th of `token_indices`
    a tied head     y[i, token_indices] = x[i] E^T

    E [tokens, hidden]

Where the head's weight is the embedding table, the rows count in both, as in PEFT.

What is not covered: tokens that the base's vocabulary does not have.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, ClassVar, Self

from pydantic import Field, NonNegativeInt, field_validator

from adapterhub import (
    BaseShape,
    ConfigError,
    Method,
    MethodConfig,
    Names,
    Param,
    Params,
    Site,
    TrainDefaults,
    UnsupportedAdapterError,
    select_modules,
)
from adapterhub.method import BaseWeights, ModuleKind

if TYPE_CHECKING:
    from torch import Tensor


TABLES: tuple[ModuleKind, ...] = ("embedding",)
ROWS = "trainable_tokens_delta"


class TrainableTokensConfig(MethodConfig):
    """Options of trainable tokens, under PEFT's names."""

    neutral: ClassVar[frozenset[str]] = frozenset(("init_weights",))

    token_indices: tuple[NonNegativeInt, ...] = Field(min_length=1, max_length=65536)
    """Ids of the tokens whose embeddings are trained."""
    target_modules: Names | None = None
    """The embedding table, by its name; by default the one that tokens go into."""

    @classmethod
    def from_peft(cls, values: Mapping[str, Any], *, where: str) -> Self:
        """Read the options of a saved adapter. Raises UnsupportedAdapterError for one that is not served."""
        return super().from_peft({"token_indices": (), **values}, where=where)

    def to_peft(self) -> dict[str, Any]:
        """The options as PEFT takes them: lists, not tuples."""
        return self.model_dump(mode="json")

    @field_validator("token_indices")
    @classmethod
    def _each_once(cls, value: tuple[int, ...]) -> tuple[int, ...]:
        if len(set(value)) != len(value):
            twice, _ = Counter(value).most_common(1)[0]
            raise ValueError(f"{twice} stands twice")
        return value


class TrainableTokens(Method[TrainableTokensConfig]):
    """Trained by PEFT's own layers; served here. The identity when it starts."""

    name = "trainable_tokens"
    peft_type = "TRAINABLE_TOKENS"
    Config = TrainableTokensConfig
    in_peft = True
    training_defaults = TrainDefaults(
        learning_rate=0.01,
        source="adapterhub's own; PEFT's method comparison takes 0.2 for two tokens of a base of 3B",
    )

    def sites(self, config: TrainableTokensConfig, shape: BaseShape) -> list[Site]:
        table = _table(config, shape)
        module = shape.modules[table]
        if (highest := max(config.token_indices)) >= module.in_features:
            raise ConfigError(
                f"token_indices: {highest} is not in the table of {table}; accepted: 0 to {module.in_features - 1}",
                field="token_indices",
            )
        size = (len(config.token_indices), module.out_features)
        modules = [table, shape.lm_head] if shape.tied and table == shape.embedding else [table]
        # PEFT writes the rows of a tied table twice.
        params = {f"{name}.{ROWS}": Param(size, init="normal", optional=name != table) for name in modules}
        return [Site("shared", params), *(Site("module", {}, module=name) for name in modules)]

    def bind(self, config: TrainableTokensConfig, site: Site, p: Params, base: BaseWeights) -> Params:
        """The rows as the module gives them, and the tokens they stand for."""
        if site.kind == "shared":
            return {"rows": _same(p)}
        rows = p["rows"]
        scale = base.embed_scale(site.module)  # 1 for a head
        tokens = rows.new_tensor(config.token_indices).long()
        return {"rows": rows if scale == 1 else rows * scale, "tokens": tokens}

    def post(self, config: TrainableTokensConfig, p: Params, x: Tensor, y: Tensor) -> Tensor:
        if x.is_floating_point():
            return y.index_copy(1, p["tokens"], x @ p["rows"].T)
        found = x.unsqueeze(1) == p["tokens"]
        own = p["rows"][found.int().argmax(dim=1)]
        return own.where(found.any(dim=1, keepdim=True), y)

    def key(self, site: Site, param: str) -> str:
        return f"base_model.model.{param}"


def _same(p: Params) -> Tensor:
    """The rows, which stand twice where the head is tied. Raises UnsupportedAdapterError when the two differ."""
    first, *others = p.items()
    for name, rows in others:
        if not bool((rows == first[1]).all()):
            raise UnsupportedAdapterError(f"{name}: differs from {first[0]}, though the base ties them")
    return first[1]


def _table(config: TrainableTokensConfig, shape: BaseShape) -> str:
    """The one embedding that is meant."""
    if config.target_modules is None:
        return shape.embedding
    found = select_modules(config.target_modules, shape, field_name="target_modules", kinds=TABLES)
    if len(found) > 1:
        raise ConfigError(f"target_modules: {', '.join(found)}; need one embedding table", field="target_modules")
    return found[0]
