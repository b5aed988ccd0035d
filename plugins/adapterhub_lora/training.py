"""What a new LoRA adapter may not start with, though a saved one may say it.

A list that names modules the base does not have is usual in a saved file and a slip in a new one.
PiSSA and OLoRA start by taking the update's first value out of the base's weights: what was trained
is saved as the difference to it, which needs both on the original base.

Sources: Meng et al. 2024, "PiSSA" (arXiv:2404.02948); Büyükakyüz 2024, "OLoRA" (arXiv:2406.01775).
"""

from __future__ import annotations

from collections.abc import Iterable

from adapterhub import BaseShape, ConfigError, Site, by_pattern, select_modules
from adapterhub.method import ModuleKind
from adapterhub_lora.config import MAX_RANK, LoraConfig


def check_names(config: LoraConfig, shape: BaseShape, kinds: tuple[ModuleKind, ...]) -> None:
    """Raises ConfigError for an entry of a list of modules, or a pattern, that matches none."""
    for name in config.target_modules if isinstance(config.target_modules, tuple) else ():
        select_modules((name,), shape, field_name="target_modules", kinds=kinds)
    there = ", ".join(
        sorted({name.rsplit(".", 1)[-1] for name, module in shape.modules.items() if module.kind in kinds})
    )
    for end in config.modules_to_save or ():
        if not any(name.endswith(end) for name in shape.modules):
            raise _refused("modules_to_save", f"{end!r} matches no module of {shape.architecture}; there are: {there}")
    for field in ("rank_pattern", "alpha_pattern"):
        for pattern in getattr(config, field):
            if not any(by_pattern({pattern: True}, name, False) for name in shape.modules):
                raise _refused(field, f"{pattern!r} matches no module of {shape.architecture}; there are: {there}")


def check_whole(sites: Iterable[Site], shape: BaseShape, quantization: str) -> None:
    """Raises ConfigError for a module trained whole whose weight is held in a few bits."""
    for site in sites:
        if site.replaces and shape.modules[site.module].kind != "embedding" and site.module != shape.lm_head:
            raise _refused(
                "modules_to_save",
                f"{site.module} is held as {quantization}, which cannot be trained (accepted: {shape.lm_head}, "
                "embeddings, or quantization=none)",
            )


def check_rewriting(config: LoraConfig, sites: Iterable[Site], shape: BaseShape, quantization: str) -> None:
    """Raises ConfigError where a start that rewrites the base could not be undone to the bit of its effect."""
    start = f"{config.init_lora_weights!r}"
    if quantization != "none":
        raise _refused("init_lora_weights", f"{start} rewrites the base and needs it floating (quantization=none)")
    for site in sites:
        module = shape.modules[site.module]
        if site.module == shape.lm_head or module.kind == "embedding":
            raise _refused("init_lora_weights", f"{start} does not go with {site.module}, which may share its weight")
        if module.kind == "conv1d" and config.init_lora_weights == "olora":
            raise _refused("init_lora_weights", f"{start} does not know transposed layers such as {site.module}")
        highest = min(module.in_features, module.out_features, MAX_RANK // 2)
        if (rank := config.rank(site.module)) > highest:
            raise _refused("r", f"{rank} at {site.module}; init_lora_weights={start} accepts at most {highest}")


def _refused(field: str, problem: str) -> ConfigError:
    return ConfigError(f"{field}: {problem}", field=field)
