"""What to train, on what, and how: the settings of one training run."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

from pydantic import Field

from adapterhub.config import Config
from adapterhub.encoder import Overlong
from adapterhub.prompt_format import FormatKind
from adapterhub.training_defaults import Schedule

TrainQuantization = Literal["none", "nf4"]


DEFAULT_METHOD = "lora"
"""Where no method is named, and the run goes on with no adapter that has one."""


class TrainConfig(Config):
    """One training run: an adapter of one method, to one objective."""

    base: str
    """The base model: a built-in name, a folder, or a Hub id (org/name[@revision])."""
    method: str | None = None
    """The adapter's method, a preset to train one by, such as qlora, or full: all of the base, without an adapter. By
    default lora, or that of the adapter the run goes on with."""
    options: dict[str, Any] = Field(default_factory=dict)
    """The method's own options."""
    init_from: str | None = None
    """An adapter of the store to go on with, of any objective; its method and options stay."""
    objective: str = "sft"
    """What training is to reach."""
    objective_options: dict[str, Any] = Field(default_factory=dict)
    """The objective's own options."""
    data: Path
    """File of training examples (.jsonl, .json, .csv, .parquet), or hf:org/name[@revision][:[config/]split]."""
    validation: Path | None = None
    """Held-out examples; without them a share of the data is held out."""
    validation_share: float = Field(default=0.1, ge=0, le=0.5)
    """Share of the prompts held out when there is no validation file; 0 trains on all."""
    format: str | None = None
    """The format of the data; by default that of the first record."""
    quantization: TrainQuantization | None = None
    """How the frozen base is held: none or nf4. By default as a preset needs it, or as it was for the adapter the run
    goes on with; else nf4 on CUDA, none on the CPU."""
    prompt_format: FormatKind | None = None
    """raw or chat. By default as the adapter that the run goes on with, else chat where the base has a template."""
    system_prompt: str | None = None
    """The system turn of a chat; the template's own when absent."""

    # How the steps are made; where nothing is given, as the preset or the method says (`TrainDefaults`).
    epochs: float | None = Field(default=None, gt=0)
    """Passes over the training examples. [default: the method's, mostly 3]"""
    max_steps: int | None = Field(default=None, ge=1)
    """Stop after this many optimizer steps, whatever `epochs` says."""
    batch_size: int = Field(default=8, ge=1)
    """Examples computed at once."""
    accumulate: int = Field(default=1, ge=1)
    """Batches in one optimizer step; the loss is a mean over all of them."""
    learning_rate: float | None = Field(default=None, gt=0)
    """The highest learning rate. [default: the method's]"""
    schedule: Schedule | None = None
    """How the learning rate falls after the warmup. [default: the method's, mostly linear, to zero]"""
    warmup: float | None = Field(default=None, ge=0, lt=1)
    """Share of the steps in which the learning rate rises. [default: the method's, mostly 0.1]"""
    weight_decay: float | None = Field(default=None, ge=0)
    """Of AdamW. [default: the method's, mostly 0]"""
    max_grad_norm: float | None = Field(default=None, ge=0)
    """Scale gradients down to this norm; 0 does not. [default: the method's, mostly 1]"""
    gradient_checkpointing: bool = False
    """Compute a layer's activations again in the backward pass in place of keeping them; qlora always does."""
    validate_every: int | None = Field(default=None, ge=0)
    """Optimizer steps from one validation to the next; 0 validates at the end only. [default: once an epoch]"""
    patience: int = Field(default=3, ge=0)
    """Stop after this many validations in a row that were no better than the best; 0 never does."""
    checkpoint_every: int | None = Field(default=None, ge=1)
    """Optimizer steps from one checkpoint to the next. [default: once an epoch, at least every 200]"""

    max_length: int = Field(default=512, ge=2)
    """Most tokens of a prompt with its response."""
    overlong: Overlong = "error"
    """What becomes of a longer example: error (refused with its line), truncate (its end is cut off) or drop."""
    probe: Path | None = None
    """General text to measure forgetting on, plain or JSONL of {"text": ...}. By default some that is shipped."""
    replay: Path | None = None
    """File of general data to mix in against forgetting: records of any known format, or plain text."""
    replay_share: float = Field(default=0.1, gt=0, lt=1)
    """Share of the replayed rows among all that are trained on."""
    samples: int = Field(default=3, ge=0, le=32)
    """Held-out prompts that the base and the adapter answer, for the report."""
    prompt_signature: bool = True
    """Record what the prompts look like, in 1024 small numbers, so that a router can tell such prompts."""
    seed: int = Field(default=0, ge=0, lt=2**32)
    """Decides the split, the order of examples and the adapter's first values."""
