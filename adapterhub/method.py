"""The method contract: what a parameter-efficient fine-tuning method is.

A method is a config schema, a *plan* (which sites of the base it touches and which tensors it
keeps there, from shapes alone) and a few lines of pure, row-wise mathematics. Training, strict
loading, counting, storing and serving in mixed batches follow from these and are the core's.

Sites are of three kinds, and a fourth holds what they have in common:

    module   at a named module: x' = pre(p, x), then y' = post(p, x', y), or y' = replace(p, x)
    kv       read-only keys and values in front of every layer's cache
    prompt   n virtual embeddings in front of the tokens
    shared   tensors that all other sites get beside their own

`x` and `y` are rows, `[rows, features]` (of an embedding, `x` is token ids, `[rows]`); `p` maps the
site's parameter names to tensors. A method may not couple rows: a row's result must not depend on
which other rows are in the batch.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar, Generic, Protocol, Self, TypeVar

from adapterhub.adopted import Adopted
from adapterhub.base_shape import BaseShape, ModuleKind, ModuleShape
from adapterhub.config import Config
from adapterhub.errors import ConfigError, PluginError, UnsupportedAdapterError
from adapterhub.method_training import MethodTraining
from adapterhub.op import Op
from adapterhub.plan import Init, Param, Plan, Site, check_sites
from adapterhub.preset import TrainPreset
from adapterhub.unserved import Unserved

if TYPE_CHECKING:
    from torch import Tensor

__all__ = [
    "EVERY_BASE",
    "BaseShape",
    "BaseWeights",
    "Init",
    "Method",
    "MethodConfig",
    "ModuleKind",
    "ModuleShape",
    "Param",
    "Params",
    "Plan",
    "Register",
    "Site",
]

Params = Mapping[str, "Tensor"]
EVERY_BASE = frozenset(("none", "int8", "nf4"))
"""The ways a base may be held."""


class BaseWeights(Protocol):
    """What `bind` may read of a base: one module at a time, as the base computes with it."""

    def weight(self, module: str) -> Tensor:
        """A linear module's weight, dequantized: fp32 [out, in]."""

    def bias(self, module: str) -> Tensor | None:
        """A module's bias in fp32 [out]; None when it has none."""

    def row_norms(self, module: str) -> Tensor:
        """Squared norms of the weight's rows, fp64 [out]; computed once per base."""

    def floating(self, module: str) -> Tensor | None:
        """A module's own weight where it is held in floating point, not to be changed; None when it is quantized."""

    def embed_scale(self, module: str) -> float:
        """What an embedding multiplies the rows of its table by; 1 in most families."""

    def norm(self, module: str, x: Tensor, params: Params) -> Tensor:
        """What a norm gives for rows `x` [n, width] with `params` in place of its own weight and bias."""


class MethodConfig(Config):
    """Base of a method's options, and its translation from and to `adapter_config.json`.

    A subclass's fields carry PEFT's names. `neutral` names the keys of PEFT's file that do not
    change what a trained adapter computes and are not read back (a field among them matters in
    training only). Every other key without a field must be absent or empty, or the adapter is
    refused by name: nothing is half understood.
    """

    neutral: ClassVar[frozenset[str]] = frozenset()

    @classmethod
    def from_peft(cls, values: Mapping[str, Any], *, where: str) -> Self:
        """Read the options of a saved adapter.

        Raises UnsupportedAdapterError naming the first option that has an effect we do not serve.
        """
        ignored = cls.neutral | COMMON_PEFT_KEYS
        known = {key: value for key, value in values.items() if key in cls.model_fields and key not in ignored}
        for key, value in sorted(values.items()):
            if key not in known and key not in ignored and not _is_empty(value):
                raise UnsupportedAdapterError(f"{where}: option {key}={value!r} is not served by this method")
        try:
            return cls.load(known, where=where)
        except ConfigError as error:
            raise UnsupportedAdapterError(str(error)) from None

    def to_peft(self) -> dict[str, Any]:
        """The options as PEFT's config classes take them."""
        return self.model_dump()


COMMON_PEFT_KEYS = frozenset(
    ("auto_mapping", "base_model_name_or_path", "inference_mode", "peft_type", "peft_version", "revision", "task_type")
)


def _is_empty(value: object) -> bool:
    return value is None or value is False or value in ({}, [], "")


C = TypeVar("C", bound=MethodConfig)


class Method(MethodTraining[C], ABC, Generic[C]):
    """One PEFT method. Subclass, set the class attributes, and give `sites` and the mathematics.

    The functions are pure: all state is in `config` and in `p`. They run without autograd when
    serving and with it when training, on rows of one adapter only.
    """

    name: ClassVar[str]
    """What users type: `--method lora`."""
    peft_type: ClassVar[str]
    """`peft_type` in `adapter_config.json`."""
    Config: type[C]
    served_on: frozenset[str] = EVERY_BASE
    """How a base may be held for the method to be served on it; fewer ways for mathematics that read its weights."""
    trained_on: frozenset[str] = frozenset(("none", "nf4"))
    """How a base may be held for the method to be trained beside it; no gradient passes an int8 one."""
    trained: ClassVar[bool] = True
    """`adapterhub train` takes it; else it only serves what was trained elsewhere, and `check_training` says why."""
    in_peft: ClassVar[bool] = False
    """True when PEFT itself trains the method; otherwise the core's generic tuner does."""

    @property
    def site_kinds(self) -> tuple[str, ...]:
        """Kinds of sites its adapters may have, told by which of the functions it has."""
        functions = {"module": ("pre", "post", "replace", "ops"), "kv": ("kv",), "prompt": ("prompt",)}
        return tuple(
            kind
            for kind, names in functions.items()
            if any(getattr(type(self), name) is not getattr(Method, name) for name in names)
        )

    @property
    def is_lowered(self) -> bool:
        """Whether a core op computes its rows."""
        return type(self).lower is not Method.lower

    @abstractmethod
    def sites(self, config: C, shape: BaseShape) -> list[Site]:
        """The sites and tensor shapes of an adapter with `config` on a base of `shape`.

        Raises ConfigError when the config names modules the base does not have.
        """

    def check_training(self, config: C, shape: BaseShape, quantization: str) -> None:
        """What a saved adapter may say and a new one should not start with, on a base held so.

        Raises ConfigError naming the option that would have no effect, or no adapter to save.
        """

    def check_continuing(self, config: C, shape: BaseShape, quantization: str) -> None:
        """As `check_training`, of an adapter that is there and is trained on, on a base held so.

        By default any, on a base that the method is served on. Raises ConfigError.
        """
        if quantization not in self.served_on:
            accepted = ", ".join(sorted(self.served_on))
            raise ConfigError(
                f"quantization: method {self.name} needs a base held as {accepted}, not {quantization}",
                field="quantization",
            )

    def as_saved(self, config: C) -> C:
        """The options that an adapter trained with `config` is saved with, where its tensors' shapes differ."""
        return config

    def adopt(self, values: Mapping[str, Any], *, where: str) -> Adopted | None:
        """Another library's adapter as one of this method's, for `adapterhub import`; None when it is of no known kind.

        `values` is its `adapter_config.json`, which has no `peft_type`; `where` names it in errors.
        Raises UnsupportedAdapterError naming the first option that has an effect the method does not serve.
        """
        return None

    def bind(self, config: C, site: Site, p: Params, base: BaseWeights) -> Params:
        """What the other functions get as `p` when serving: derived tensors, made once at load.

        Called for the `shared` site first; what it gives is in the `p` of all other sites, beside
        their own. It also runs on the meta device, to count their bytes before there is a weight: what
        looks at values, such as `bool(x.any())`, must not where `x.is_meta`.
        """
        return p

    def starts(self, config: C, prompt: Sequence[int]) -> int | None:
        """The first of the prompt's tokens whose rows the adapter changes; None where it changes none at all.

        `prompt` holds the prompt's token ids, without virtual tokens. Rows before it are the bare
        base's, and their keys and values are shared with it.
        """
        return 0

    def unmergeable(self, config: C, shape: BaseShape) -> str:
        """Why such an adapter is no change of the base's weights, for `adapterhub merge`; empty where it is one.

        By default what is not in PEFT, whose layers do the merging, and what acts by virtual tokens is none.
        """
        if {"kv", "prompt"} & set(self.site_kinds):
            return "it acts by virtual tokens in front of every prompt, which no weight of the base holds"
        return "" if self.in_peft else "its rows need not be linear in what goes into a module, as a weight's are"

    def lower(self, config: C, site: Site, p: Params) -> Op | None:
        """The core's op that does just what `pre` and `post` do with the bound `p` at a module site; None for none.

        Called once at load; rows are then computed by the op, in place and without a call of the method's.
        """
        return None

    def ops(
        self, config: C, shape: BaseShape, sites: Mapping[str, tuple[Site, Params]], base: BaseWeights
    ) -> Mapping[str, Op]:
        """What computes the rows of module sites when serving; a site without an op is left to `pre` and `post`.

        `sites` holds each module site with what `bind` gave, by its module's name. By default what
        `lower` gives; for a method whose sites cannot be made one by one.
        """
        lowered = {name: self.lower(config, site, p) for name, (site, p) in sites.items()}
        return {name: op for name, op in lowered.items() if op is not None}

    def pre(self, config: C, p: Params, x: Tensor) -> Tensor:
        """Rows into the module. `x` and result: [rows, in_features]."""
        return x

    def post(self, config: C, p: Params, x: Tensor, y: Tensor) -> Tensor:
        """Rows out of the module. `x`: [rows, in_features]; `y` and result: [rows, out_features]."""
        return y

    def replace(self, config: C, p: Params, x: Tensor) -> Tensor:
        """Rows in place of the module's own, at a site that `replaces`. Result: [rows, out_features]."""
        # No default could be right, and it is called only where a plan has such a site.
        raise NotImplementedError("a plan with a site that replaces its module needs `replace`")

    def kv(self, config: C, p: Params, shape: BaseShape) -> Tensor:
        """Keys and values of a kv site: [layers, 2, kv_heads, n, head_dim]; keys as after rotary embedding."""
        # No default could be right, and it is called only where a plan has such a site.
        raise NotImplementedError("a plan with a kv site needs `kv`")

    def prompt(self, config: C, p: Params) -> Tensor:
        """The virtual embeddings of a prompt site: [n, hidden]."""
        # No default could be right, and it is called only where a plan has such a site.
        raise NotImplementedError("a plan with a prompt site needs `prompt`")

    def key(self, site: Site, param: str) -> str:
        """The tensor's name on disk, in PEFT's spelling for a method that is PEFT's.

        Any other method may choose; by default `base_model.model.{module}.{method}_{param}`, and
        `base_model.model.{method}_{param}` at a site of another kind.
        """
        where = f"{site.module}." if site.module else ""
        return f"base_model.model.{where}{self.name}_{param}"

    def plan(self, config: C, shape: BaseShape) -> Plan:
        """Everything about an adapter that can be known before any weight is read.

        Raises ConfigError as `sites`, and PluginError for sites that cannot act together.
        """
        sites = tuple(sorted(self.sites(config, shape), key=lambda site: site.kind != "shared"))
        check_sites(self.name, sites, shape)
        keys: dict[str, tuple[Site, str]] = {}
        for site in sites:
            for name in site.params:
                if (key := self.key(site, name)) in keys:
                    raise PluginError(f"method {self.name!r}: two tensors have the name {key!r}")
                keys[key] = (site, name)
        return Plan(sites, keys)


Register = Callable[[Method[Any] | TrainPreset | Unserved], None]
