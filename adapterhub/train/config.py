"""What to train, on what, and how: the settings of one training run."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

from pydantic import Field

from adapterhub.config import Config
from adapterhub.prompt_format import FormatKind

TrainQuantization = Literal["none", "nf4"]


class TrainConfig(Config):
    """One training run: an adapter of one method, to one objective."""

    base: str
    """The base model: a built-in name, a folder, or a Hub id (org/name[@revision])."""
    method: str = "lora"
    """The adapter's method, or a preset to train one by, such as qlora."""
    options: dict[str, Any] = Field(default_factory=dict)
    """The method's own options."""
    objective: str = "sft"
    """What training is to reach."""
    objective_options: dict[str, Any] = Field(default_factory=dict)
    """The objective's own options."""
    data: Path
    """File of training examples, in any of the known formats."""
    validation: Path | None = None
    """File of held-out examples; without it a share of the data is held out."""
    validation_share: float = Field(default=0.1, ge=0, le=0.5)
    """Share of the prompts held out when there is no validation file; 0 trains on all."""
    quantization: TrainQuantization | None = None
    """How the frozen base is held: none or nf4. By default as a preset needs it; else nf4 on CUDA, none on the CPU."""
    prompt_format: FormatKind | None = None
    """raw or chat. By default chat where the base has a chat template."""
    system_prompt: str | None = None
    """The system turn of a chat; the template's own when absent."""
    epochs: float = Field(default=3.0, gt=0)
    """Passes over the training examples."""
    max_steps: int | None = Field(default=None, ge=1)
    """Stop after this many optimizer steps, whatever `epochs` says."""
    batch_size: int = Field(default=8, ge=1)
    """Examples in one optimizer step."""
    learning_rate: float = Field(default=1e-3, gt=0)
    """The highest learning rate; it falls linearly to zero after the warmup."""
    warmup: float = Field(default=0.1, ge=0, lt=1)
    """Share of the steps in which the learning rate rises."""
    max_length: int = Field(default=512, ge=2)
    """Most tokens of a prompt with its response; a longer example is refused with its line."""
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
