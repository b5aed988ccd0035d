"""The facts of one training run. Needs no torch."""

from __future__ import annotations

from typing import Any, Self

from pydantic import Field

from adapterhub.adapter import Adapter
from adapterhub.config import Config
from adapterhub.train.general_change import GeneralChange
from adapterhub.train.result import TrainResult

REPORT_VERSION = 1


class Point(Config):
    """A loss after a step."""

    step: int
    loss: float


class Answers(Config):
    """A held-out prompt and its answers."""

    prompt: str
    expected: str
    base: str
    adapter: str


class Report(Config):
    """`report.json`."""

    format_version: int = REPORT_VERSION
    name: str = ""
    """What the adapter is published as."""
    digest: str = ""
    """Of the adapter in the store."""
    created: str = ""
    """UTC time, ISO 8601."""
    method: str
    objective: str
    base: str
    base_digest: str
    quantization: str
    steps: int
    tokens: int
    """Of training, pads not counted."""
    seconds: float
    """Of the steps alone."""
    training_losses: tuple[Point, ...] = ()
    """Of every step."""
    validation_losses: tuple[Point, ...] = ()
    """Step 0 is the bare base."""
    best_step: int | None = None
    """The step of the adapter that was kept, where validation chose it."""
    general_loss_base: float | None = None
    """Nats per token of general text."""
    general_loss_adapter: float | None = None
    samples: tuple[Answers, ...] = ()
    parameters: int = 0
    """Elements of the tensors that were trained."""
    adapter_bytes: int = 0
    """Of the files of its tensors."""
    peak_bytes: int = 0
    """Most memory held by the run; 0 when that was not measured."""
    evaluation: dict[str, Any] | None = None
    """What `adapterhub eval --json` found."""
    options: dict[str, Any] = Field(default_factory=dict)
    """`adapter_config.json`."""
    settings: dict[str, Any] = Field(default_factory=dict)
    data: dict[str, Any] = Field(default_factory=dict)
    versions: dict[str, str] = Field(default_factory=dict)

    @classmethod
    def of(cls, result: TrainResult) -> Self:
        """Of a run that ended; `name` and `digest` are filled in once its adapter is published."""
        provenance = result.made.provenance
        adapter = result.made if isinstance(result.made, Adapter) else None
        saved = result.folder.glob("*.safetensors")  # of a model, in fp32
        nbytes = sum(path.stat().st_size for path in saved)
        assert provenance is not None, "what is trained has a record"
        assert provenance.base is not None, "and a base"
        general = GeneralChange.of(provenance.forgetting)
        start = [] if result.loss_before is None else [Point(step=0, loss=result.loss_before)]
        return cls(
            created=provenance.created,
            method=provenance.method,
            objective=str(provenance.training.get("objective", "")),
            base=provenance.base.ref,
            base_digest=provenance.base.digest,
            quantization=provenance.quantization,
            steps=len(result.losses),
            tokens=result.tokens,
            seconds=result.seconds,
            training_losses=tuple(Point(step=step, loss=loss) for step, loss in enumerate(result.losses, start=1)),
            validation_losses=(*start, *(Point(step=each.step, loss=each.loss) for each in result.validations)),
            best_step=result.best_step,
            general_loss_base=general.base if general else None,
            general_loss_adapter=general.adapter if general else None,
            samples=tuple(Answers(**sample._asdict()) for sample in result.samples),
            parameters=adapter.num_parameters if adapter else nbytes // 4,
            adapter_bytes=nbytes,
            peak_bytes=result.peak_bytes,
            options=dict(adapter.config) if adapter else {},
            settings=provenance.training,
            data=provenance.data,
            versions=provenance.versions,
        )

    @property
    def general(self) -> GeneralChange | None:
        """What general ability the adapter cost."""
        if self.general_loss_base is None or self.general_loss_adapter is None:
            return None
        return GeneralChange(self.general_loss_base, self.general_loss_adapter)
