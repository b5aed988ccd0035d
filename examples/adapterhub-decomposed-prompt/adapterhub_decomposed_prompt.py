"""Decomposed prompt tuning: n virtual embeddings in front of the prompt that are a low-rank product.

    prompt = A @ B    A: [n, rank], B: [rank, hidden]

Source: Xiao et al. 2023, "Decomposed Prompt Tuning via Low-Rank Reparameterization"
(arXiv:2310.10094).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from pydantic import Field

from adapterhub import BaseShape, Method, MethodConfig, Param, Params, Site, hookimpl

if TYPE_CHECKING:
    from torch import Tensor

    from adapterhub.method import Register


class DecomposedPromptConfig(MethodConfig):
    """Options of decomposed prompt tuning."""

    num_virtual_tokens: int = Field(default=32, ge=1, le=4096)
    """Virtual embeddings in front of the prompt."""
    rank: int = Field(default=8, ge=1, le=4096)
    """Inner width of the product."""


class DecomposedPrompt(Method[DecomposedPromptConfig]):
    """Both factors are saved; the product is made once, when an adapter is loaded to serve."""

    name = "decomposed_prompt"
    peft_type = "DECOMPOSED_PROMPT"
    Config = DecomposedPromptConfig

    def sites(self, config: DecomposedPromptConfig, shape: BaseShape) -> list[Site]:
        n, rank = config.num_virtual_tokens, config.rank
        params = {
            "a": Param((n, rank), init="normal", std=rank**-0.5),
            "b": Param((rank, shape.hidden_size), init="normal"),
        }
        return [Site("prompt", params, virtual_tokens=n)]

    def prompt(self, config: DecomposedPromptConfig, p: Params) -> Tensor:
        return p["a"] @ p["b"]


@hookimpl
def register_methods(register: Register) -> None:
    register(DecomposedPrompt())
