"""PEFT's other kinds of virtual tokens. Each saves embeddings, or keys and values, ready to be used.

    cartridge                    keys and values, as prefix tuning lays them out
    cpt                          embeddings of a text's tokens, with what was learned added
    multitask_prompt_tuning      embeddings times a low-rank product of the task's own; of one task only

Sources: Eyuboglu et al. 2025, "Cartridges" (arXiv:2506.06266); Tsachi et al. 2024, "CPT" (arXiv:2410.17222);
Wang et al. 2023, "Multitask Prompt Tuning" (arXiv:2303.02861).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from pydantic import Field

from adapterhub import BaseShape, ConfigError, Method, MethodConfig, Param, Params, Site
from adapterhub.method_training import Continued

if TYPE_CHECKING:
    from torch import Tensor

LAYOUT = frozenset(("num_attention_heads", "num_layers", "num_transformer_submodules", "token_dim"))
"""Options that repeat what the base is: a file for another one has a tensor of another shape."""


class CartridgeConfig(MethodConfig):
    """Options of CARTRIDGE, under PEFT's names."""

    neutral: ClassVar[frozenset[str]] = LAYOUT | {"num_frozen_tokens"}

    num_virtual_tokens: int = Field(default=16, ge=2, le=4096)
    """Positions in front of the prompt that keys and values are trained for."""
    num_frozen_tokens: int = Field(default=1, ge=0)
    """The first of them, which do not learn."""


class Cartridge(Method[CartridgeConfig]):
    """Trained by PEFT; served by writing the keys and values into a request's first places."""

    name = "cartridge"
    peft_type = "CARTRIDGE"
    Config = CartridgeConfig
    in_peft = True

    def sites(self, config: CartridgeConfig, shape: BaseShape) -> list[Site]:
        n, width = config.num_virtual_tokens, shape.num_kv_heads * shape.head_dim
        params = {"embeddings": Param((n, shape.num_layers * 2 * width), init="normal", std=1.0)}
        return [Site("kv", params, virtual_tokens=n)]

    def continued(self, config: CartridgeConfig, saved: Mapping[str, Any], shape: BaseShape) -> Continued:
        """As it is; the same positions stay frozen."""
        return Continued(self.name, {**dict(config), **_given(saved, "num_frozen_tokens")})

    def kv(self, config: CartridgeConfig, p: Params, shape: BaseShape) -> Tensor:
        """A row of `embeddings` holds one position: by layer, its keys and then its values, by head."""
        by_position = p["embeddings"].view(-1, shape.num_layers, 2, shape.num_kv_heads, shape.head_dim)
        return by_position.permute(1, 2, 3, 0, 4).contiguous()

    def key(self, site: Site, param: str) -> str:
        return f"prompt_{param}"


class CptConfig(MethodConfig):
    """Options of CPT, under PEFT's names."""

    neutral: ClassVar[frozenset[str]] = LAYOUT | {
        "cpt_mask",
        "cpt_token_ids",
        "cpt_tokens_type_mask",
        "opt_loss_decay_factor",
        "opt_projection_epsilon",
        "opt_projection_format_epsilon",
        "opt_weighted_loss_type",
        "tokenizer_name_or_path",
    }

    num_virtual_tokens: int = Field(default=1, ge=1, le=4096)
    """Tokens of the text in front of the prompt."""
    cpt_token_ids: list[int] | None = None
    """That text, by token ids, as many as `num_virtual_tokens`."""
    cpt_mask: list[int] | None = None
    """Which of them are attended to in training."""
    cpt_tokens_type_mask: list[int] | None = None
    """What each of them is: 0 the like of a separator, 1 a template, 2 an input, 3 a label's template, 4 a label."""
    opt_weighted_loss_type: Literal["none", "decay"] = "none"
    """Weight the losses of examples in the text."""
    opt_loss_decay_factor: float = Field(default=1.0, ge=0)
    """How fast these weights fall."""
    opt_projection_epsilon: float = Field(default=0.1, gt=0)
    """How far an input's embedding may move."""
    opt_projection_format_epsilon: float = Field(default=0.1, gt=0)
    """How far a template's may."""


class Cpt(Method[CptConfig]):
    """Trained by PEFT; served by prefilling the embeddings like tokens."""

    name = "cpt"
    peft_type = "CPT"
    Config = CptConfig
    in_peft = True

    def sites(self, config: CptConfig, shape: BaseShape) -> list[Site]:
        n = config.num_virtual_tokens
        return [Site("prompt", {"embeddings": Param((n, shape.hidden_size), init="normal")}, virtual_tokens=n)]

    def continued(self, config: CptConfig, saved: Mapping[str, Any], shape: BaseShape) -> Continued:
        """As it is; how far an embedding may move is counted from where it stands now."""
        return Continued(self.name, {**dict(config), **_given(saved, *CptConfig.model_fields)})

    def prompt(self, config: CptConfig, p: Params) -> Tensor:
        return p["embeddings"]

    def key(self, site: Site, param: str) -> str:
        return f"prompt_{param}"


class MultitaskConfig(MethodConfig):
    """Options of multitask prompt tuning, under PEFT's names."""

    neutral: ClassVar[frozenset[str]] = LAYOUT | {
        "prompt_tuning_init",
        "prompt_tuning_init_state_dict_path",
        "prompt_tuning_init_task",
        "prompt_tuning_init_text",
        "tokenizer_kwargs",
        "tokenizer_name_or_path",
    }

    num_virtual_tokens: int = Field(default=16, ge=1, le=4096)
    """Virtual embeddings in front of the prompt."""
    num_ranks: int = Field(default=1, ge=1, le=4096)
    """Rank of the task's own product."""
    num_tasks: Literal[1] = 1
    """Tasks in one adapter. Only one is served: with more, every request of PEFT's brings the number of its task."""


class MultitaskPromptTuning(Method[MultitaskConfig]):
    """Served as prompt tuning is, with the task's product in the embeddings."""

    name = "multitask_prompt_tuning"
    peft_type = "MULTITASK_PROMPT_TUNING"
    Config = MultitaskConfig
    in_peft = True
    trained = False

    def sites(self, config: MultitaskConfig, shape: BaseShape) -> list[Site]:
        n, rank = config.num_virtual_tokens, config.num_ranks
        params = {
            "prompt_embeddings": Param((n, shape.hidden_size), init="normal"),
            "prefix_task_cols": Param((1, n, rank), init="normal"),
            "prefix_task_rows": Param((1, rank, shape.hidden_size), init="normal"),
        }
        return [Site("prompt", params, virtual_tokens=n)]

    def check_training(self, config: MultitaskConfig, shape: BaseShape, quantization: str) -> None:
        """PEFT trains it on examples that bring the number of their task, which ours do not."""
        raise ConfigError(
            "method: multitask_prompt_tuning is served, not trained here: its examples need a task number each "
            "(prompt_tuning is the like of it)",
            field="method",
        )

    def prompt(self, config: MultitaskConfig, p: Params) -> Tensor:
        return p["prompt_embeddings"] * (p["prefix_task_cols"][0] @ p["prefix_task_rows"][0])

    def key(self, site: Site, param: str) -> str:
        return param


def _given(saved: Mapping[str, Any], *names: str) -> dict[str, Any]:
    return {name: saved[name] for name in names if saved.get(name) is not None}
