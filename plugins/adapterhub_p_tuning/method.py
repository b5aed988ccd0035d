"""P-tuning: n embeddings in front of the prompt, given by a small network that is trained.

Source: Liu et al. 2021, "GPT Understands, Too" (arXiv:2103.10385).

The network exists in training only: PEFT saves the embeddings it gives, and they are served as
those of prompt tuning are, and trained on as they.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from pydantic import Field, ValidationInfo, field_validator

from adapterhub import BaseShape, Method, MethodConfig, Param, Params, Site, TrainDefaults
from adapterhub.method_training import Continued

if TYPE_CHECKING:
    from torch import Tensor

MLP_LAYERS = 2
"""Hidden layers of PEFT's MLP encoder, whatever is asked."""


class PTuningConfig(MethodConfig):
    """Options of p-tuning, under PEFT's names."""

    neutral: ClassVar[frozenset[str]] = frozenset(
        (
            "encoder_dropout",
            "encoder_hidden_size",
            "encoder_num_layers",
            "encoder_reparameterization_type",
            "num_attention_heads",
            "num_layers",
            "num_transformer_submodules",
            "token_dim",
        )
    )

    num_virtual_tokens: int = Field(default=16, ge=1, le=4096)
    """Virtual embeddings in front of the prompt."""
    encoder_reparameterization_type: Literal["MLP", "LSTM"] = "MLP"
    """The network that gives the embeddings in training."""
    encoder_hidden_size: int | None = Field(default=None, ge=1)
    """Its width; by default the base's hidden size."""
    encoder_num_layers: int = Field(default=MLP_LAYERS, ge=1, le=16)
    """Layers of the LSTM; the MLP always has two hidden ones."""
    encoder_dropout: float = Field(default=0.0, ge=0, lt=1)
    """Dropout between the layers of the LSTM."""

    @field_validator("encoder_num_layers")
    @classmethod
    def _layers_of_the_lstm(cls, value: int, info: ValidationInfo) -> int:
        if value != MLP_LAYERS and info.data.get("encoder_reparameterization_type") == "MLP":
            raise ValueError(f"the MLP has {MLP_LAYERS}; others need encoder_reparameterization_type=LSTM")
        return value

    @field_validator("encoder_dropout")
    @classmethod
    def _dropout_of_the_lstm(cls, value: float, info: ValidationInfo) -> float:
        lstm = info.data.get("encoder_reparameterization_type") == "LSTM"
        if value and not (lstm and info.data.get("encoder_num_layers", 0) > 1):
            raise ValueError("without effect; needs encoder_reparameterization_type=LSTM of two layers or more")
        return value


class PTuning(Method[PTuningConfig]):
    """Trained by PEFT; served by prefilling the virtual embeddings like tokens."""

    name = "p_tuning"
    peft_type = "P_TUNING"
    Config = PTuningConfig
    in_peft = True
    training_defaults = TrainDefaults(
        learning_rate=0.001,
        epochs=10.0,
        source="PEFT's method comparison, with the MLP",
    )

    def sites(self, config: PTuningConfig, shape: BaseShape) -> list[Site]:
        n = config.num_virtual_tokens
        params = {"embeddings": Param((n, shape.hidden_size), init="normal", std=1.0)}
        return [Site("prompt", params, virtual_tokens=n)]

    def continued(self, config: PTuningConfig, saved: Mapping[str, Any], shape: BaseShape) -> Continued:
        """As prompt tuning: the embeddings are there, the network that gave them is not."""
        return Continued("prompt_tuning", {"num_virtual_tokens": config.num_virtual_tokens})

    def prompt(self, config: PTuningConfig, p: Params) -> Tensor:
        return p["embeddings"]

    def key(self, site: Site, param: str) -> str:
        return f"prompt_{param}"
