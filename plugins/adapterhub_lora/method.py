"""LoRA: y + s B(A x), a low-rank update beside each targeted module, and what PEFT trains with it.

    linear      y' = y + s B(A x)
    DoRA        y' = m / |W + s B A| (y + s B(A x)), the norm by output row, biases apart
    embedding   y' = y + s e B A[ids], e what the embedding multiplies its table by
    bias        a module's trained bias in place of its own
    saved       a module trained whole: its output comes from the adapter's own weight

Sources: Hu et al. 2021, "LoRA: Low-Rank Adaptation of Large Language Models" (arXiv:2106.09685);
rank-stabilized scaling: Kalajdzievski 2023 (arXiv:2312.03732); DoRA: arXiv:2402.09353.

What is not covered, and refused by name: DoRA on embeddings, whole norms, added tokens, and the
options of LoraConfig that are no fields here.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from adapterhub import (
    BaseShape,
    ConfigError,
    LowRank,
    Method,
    ModuleShape,
    Param,
    Params,
    Site,
    TrainDefaults,
    UnsupportedAdapterError,
)
from adapterhub.method import BaseWeights, ModuleKind
from adapterhub_lora.config import LoraConfig
from adapterhub_lora.training import check_saved, check_start, check_whole

if TYPE_CHECKING:
    from peft import PeftConfig, PeftModel
    from torch import Tensor

    from adapterhub.method_training import TrainingBase

TARGETS: tuple[ModuleKind, ...] = ("linear", "conv1d", "embedding")
NAMES = {
    "lora_A": "lora_A.weight",
    "lora_B": "lora_B.weight",
    "lora_bias": "lora_B.bias",
    "magnitude": "lora_magnitude_vector",
    "embedding_A": "lora_embedding_A",
    "embedding_B": "lora_embedding_B",
    "base_table": "base_layer.weight",
    "base_bias": "base_layer.bias",
    "bias": "bias",
    "weight": "weight",
    "weight_in_out": "weight",
    "table": "weight",
}
"""Parameter -> its name on disk, behind the module's."""


class Lora(Method[LoraConfig]):
    """Trained by PEFT's own LoRA layers; served here."""

    name = "lora"
    peft_type = "LORA"
    Config = LoraConfig
    in_peft = True
    training_defaults = TrainDefaults(
        learning_rate=0.0002,
        source="Hu et al. 2021, for GPT-2, whose settings DoRA's authors keep",
    )

    def sites(self, config: LoraConfig, shape: BaseShape) -> list[Site]:
        saved = config.modules_to_save or ()
        targets = set(config.targets(shape, kinds=TARGETS, saved=saved))
        sites = []
        for name, module in shape.modules.items():
            if any(name.endswith(end) for end in saved):
                sites.append(Site("module", _whole(name, module, config), module=name, replaces=True))
            elif name in targets:
                sites.append(Site("module", _update(name, module, config), module=name))
            elif config.bias == "all" and module.bias:
                sites.append(Site("module", {"bias": Param((module.out_features,))}, module=name))
        return sites

    def check_training(self, config: LoraConfig, shape: BaseShape, quantization: str) -> None:
        """Every name matches something, and a start that is not nothing can be converted."""
        config.check_names(shape, kinds=TARGETS)
        check_saved(config, shape, TARGETS)
        if config.saves_difference:
            check_start(config, self.sites(config, shape), shape, quantization)
        elif quantization != "none":
            check_whole(self.sites(config, shape), shape, quantization)

    def check_continuing(self, config: LoraConfig, shape: BaseShape, quantization: str) -> None:
        """What learns is held in floating point. A saved adapter may name modules that the base does not have."""
        if quantization != "none":
            check_whole(self.sites(config, shape), shape, quantization)

    def attach(self, config: LoraConfig, peft_config: PeftConfig, base: TrainingBase) -> PeftModel:
        """PEFT's own, but for the starts that take a look at the run's examples or at the original weights."""
        from adapterhub_lora import starts

        if config.init_lora_weights == "corda":
            return starts.corda(peft_config, base)
        adapted = super().attach(config, peft_config, base)
        if config.init_lora_weights == "loftq":
            starts.loftq(adapted, base)
        return adapted

    def saves_difference(self, config: LoraConfig) -> bool:
        return config.saves_difference

    def as_saved(self, config: LoraConfig) -> LoraConfig:
        """Plain LoRA of twice the rank, where the difference to its start is saved."""
        if not config.saves_difference:
            return config
        ranks = {pattern: 2 * rank for pattern, rank in config.rank_pattern.items()}
        return config.model_copy(update={"init_lora_weights": True, "r": 2 * config.r, "rank_pattern": ranks})

    def bind(self, config: LoraConfig, site: Site, p: Params, base: BaseWeights) -> Params:
        """All of a site in few tensors: y' = scale * y + B(A x) + shift, or the module's own weight."""
        if site.replaces:
            return _bind_whole(site, p, base)
        if "embedding_A" in p:
            return _bind_embedding(config.scaling(site.module), site, p, base)
        return _bind_linear(config.scaling(site.module), site, p, base)

    def post(self, config: LoraConfig, p: Params, x: Tensor, y: Tensor) -> Tensor:
        if "scale" in p:
            y = y * p["scale"]
        if "A" in p:
            y = y + (x @ p["A"].T) @ p["B"].T
        elif "rows" in p:
            y = y + p["rows"][x] @ p["B"].T
        return y + p["shift"] if "shift" in p else y

    def starts(self, config: LoraConfig, prompt: Sequence[int]) -> int | None:
        """Where activated LoRA begins: the last place that its tokens stand in the prompt; nowhere if they do not."""
        if not (wanted := config.alora_invocation_tokens):
            return 0
        places = range(len(prompt) - len(wanted), -1, -1)
        return next((place for place in places if tuple(prompt[place : place + len(wanted)]) == wanted), None)

    def unmergeable(self, config: LoraConfig, shape: BaseShape) -> str:
        if config.alora_invocation_tokens:
            return "activated LoRA acts from its invocation on, a weight on every token"
        if config.lora_bias and not all(shape.modules[site.module].bias for site in self.sites(config, shape)):
            return "lora_bias needs a bias to be merged into, and a targeted module has none"
        return ""

    def lower(self, config: LoraConfig, site: Site, p: Params) -> LowRank | None:
        if "A" not in p:
            return None
        return LowRank(p["A"], p["B"], scale=p.get("scale"), shift=p.get("shift"))

    def replace(self, config: LoraConfig, p: Params, x: Tensor) -> Tensor:
        if "rows" in p:
            return p["rows"][x]
        y = x @ p["weight"].T
        return y + p["bias"] if "bias" in p else y

    def key(self, site: Site, param: str) -> str:
        return f"base_model.model.{site.module}.{NAMES[param]}"


def _update(name: str, module: ModuleShape, config: LoraConfig) -> dict[str, Param]:
    """The tensors beside a targeted module."""
    rank = config.rank(name)
    if module.kind == "embedding":
        for option in ("alora_invocation_tokens", "use_dora", "lora_bias"):
            if getattr(config, option):
                raise ConfigError(f"{option}: not served on embeddings such as {name}", field=option)
        return {
            "embedding_A": Param((rank, module.in_features)),
            "embedding_B": Param((module.out_features, rank), init="normal", std=1.0),
            # PEFT saves a copy of the base's own table beside an embedding's update.
            "base_table": Param((module.in_features, module.out_features), trainable=False, optional=True),
        }
    params = {
        "lora_A": Param((rank, module.in_features), init="kaiming_uniform"),
        "lora_B": Param((module.out_features, rank)),
    }
    if config.lora_bias:
        params["lora_bias"] = Param((module.out_features,))
    if config.use_dora:
        params["magnitude"] = Param((module.out_features,), init="ones")
    if config.bias != "none" and module.bias:
        params["base_bias"] = Param((module.out_features,))
    return params


def _whole(name: str, module: ModuleShape, config: LoraConfig) -> dict[str, Param]:
    """The tensors of a module that is saved whole."""
    if module.kind not in TARGETS:
        raise ConfigError(
            f"modules_to_save: {name} is of kind {module.kind} (accepted: {', '.join(TARGETS)})",
            field="modules_to_save",
        )
    if module.bias and config.bias == "all":
        raise ConfigError(f"modules_to_save: {name} has a bias, which bias=all trains too", field="modules_to_save")
    sizes = module.in_features, module.out_features
    if module.kind == "embedding":
        return {"table": Param(sizes)}
    params = {"weight": Param(sizes[::-1])} if module.kind == "linear" else {"weight_in_out": Param(sizes)}
    return params | ({"bias": Param((module.out_features,))} if module.bias else {})


def _bind_whole(site: Site, p: Params, base: BaseWeights) -> Params:
    if "table" in p:
        scale = base.embed_scale(site.module)
        return {"rows": p["table"] if scale == 1 else p["table"] * scale}
    weight = p["weight"] if "weight" in p else p["weight_in_out"].T
    return {"weight": weight} | ({"bias": p["bias"]} if "bias" in p else {})


def _bind_embedding(scaling: float, site: Site, p: Params, base: BaseWeights) -> Params:
    if "base_table" in p and not _is_own(p["base_table"], base.weight(site.module)):
        raise UnsupportedAdapterError(
            f"{site.module}: the adapter brings a table of its own beside LoRA, which differs from the base's; "
            "need it trained in modules_to_save"
        )
    scaling = scaling * base.embed_scale(site.module)
    return {"rows": p["embedding_A"].T.contiguous(), "B": p["embedding_B"] * scaling}


def _is_own(table: Tensor, own: Tensor) -> bool:
    """Whether a saved table is the base's, which may be held in fewer bits."""
    return any(bool((rounded.float() == own).all()) for rounded in (table, table.bfloat16(), table.half()))


def _bind_linear(scaling: float, site: Site, p: Params, base: BaseWeights) -> Params:
    bound: dict[str, Tensor] = {}
    shifts = []
    scale = None
    if "lora_A" in p:
        bound = {"A": p["lora_A"], "B": p["lora_B"] * scaling}
    if "lora_bias" in p:
        shifts.append(p["lora_bias"] * scaling)
    if "magnitude" in p:
        scale = bound["scale"] = _dora_scale(bound["A"], bound["B"], p["magnitude"], site, base)
        bound["B"] = bound["B"] * scale.unsqueeze(1)
    own = base.bias(site.module)
    new = p.get("base_bias", p.get("bias", own))
    if own is not None and new is not None and (new is not own or scale is not None):
        shifts.append(new - own if scale is None else new - own * scale)
    return bound | ({"shift": sum(shifts[1:], shifts[0])} if shifts else {})


def _dora_scale(a: Tensor, b: Tensor, magnitude: Tensor, site: Site, base: BaseWeights) -> Tensor:
    """m / |W + B A|, [out]. Raises UnsupportedAdapterError where the adapter takes a whole row away."""
    from adapterhub_lora.dora import row_norms

    scale = magnitude / row_norms(base.row_norms(site.module), base.weight(site.module), a, b)
    if not scale.is_meta and not bool(scale.isfinite().all()):
        raise UnsupportedAdapterError(f"{site.module}: DoRA divides by a row of norm 0")
    return scale.to(a.dtype)
