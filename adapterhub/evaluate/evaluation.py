"""What an evaluation found: one row for each way to prompt the base, and for each adapter."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, Literal, NamedTuple

from adapterhub.evaluation_record import EvaluationRecord, RecordedRow


@dataclass(frozen=True)
class EvaluationRow:
    """One line of the table."""

    label: str
    """`base, zero-shot`, `base, 8-shot`, or the adapter's name and tag."""
    kind: Literal["prompt", "adapter"]
    digest: str
    """The adapter's; empty for the bare base."""
    prompt_format: Literal["raw", "chat"]
    shots: int
    prompt_tokens: float
    """Of a request, on average; virtual tokens are not among them."""
    virtual_tokens: int
    """Positions that the adapter puts in front, computed once for all requests."""
    generated_tokens: float
    """Of a request, on average, the closing one included."""
    cut: float
    """Share of the answers that ended only because they were as long as allowed."""
    cost: float
    """Tokens of a request, as a multiple of the first adapter's; where there is none, of the first row's."""
    price: float | None
    """Of a thousand requests, where prices of tokens were given."""
    scores: Mapping[str, float]
    """By metric, from 0 to 1."""
    intervals: Mapping[str, tuple[float, float]]
    """By metric, 95 % of the bootstrap's figures."""


class Difference(NamedTuple):
    """The best adapter minus the best prompt on the first metric, in the same resamples."""

    metric: str
    adapter: str
    """Label of its row."""
    prompt: str
    """Label of its row."""
    points: float
    """Hundredths of the metric."""
    low: float
    high: float
    """Ends of the 95 % interval of `points`."""


class Sample(NamedTuple):
    """One question with everybody's answer."""

    prompt: str
    """As the data have it; of a conversation its last user turn."""
    expected: str
    answers: Mapping[str, str]
    """By the rows' labels."""


@dataclass(frozen=True)
class Evaluation:
    """The table, and what follows from it."""

    examples: int
    data_sha256: str
    """Digest of the file of held-out examples."""
    metrics: tuple[str, ...]
    """As they were chosen; the verdict is on the first."""
    descriptions: tuple[str, ...]
    """What each metric measures."""
    rows: tuple[EvaluationRow, ...]
    """The prompts first, then the adapters."""
    differences: Mapping[str, Difference]
    """By the adapters' labels, each against the best prompt."""
    best: str
    """Label of the best adapter; empty without one."""
    verdicts: Mapping[str, str]
    """By the adapters' labels: whether it was worth training each."""
    settings: Mapping[str, Any]
    """How it was done."""
    samples: tuple[Sample, ...] = ()
    warnings: tuple[str, ...] = ()
    """What a reader of the figures should know."""
    headline: str = field(default="")
    """The verdict where there is no adapter."""

    @property
    def verdict(self) -> str:
        """In a line: whether fine-tuning was worth it."""
        return self.verdicts[self.best] if self.best else self.headline

    @property
    def difference(self) -> Difference | None:
        """The best adapter against the best prompt."""
        return self.differences.get(self.best)

    def as_json(self) -> dict[str, Any]:
        """Everything, in types that JSON has."""
        return {
            "metrics": list(self.metrics),
            "descriptions": dict(zip(self.metrics, self.descriptions, strict=True)),
            "rows": [asdict(row) | {"intervals": {k: list(v) for k, v in row.intervals.items()}} for row in self.rows],
            "verdict": self.verdict,
            "difference": self.difference._asdict() if self.difference else None,
            "examples": self.examples,
            "data_sha256": self.data_sha256,
            "settings": dict(self.settings),
            "samples": [sample._asdict() | {"answers": dict(sample.answers)} for sample in self.samples],
            "warnings": list(self.warnings),
        }

    def record_of(self, label: str) -> EvaluationRecord:
        """What to record of one adapter: the prompts' rows and its own, without anybody's name."""
        rows = [row for row in self.rows if row.kind == "prompt" or row.label == label]
        return EvaluationRecord(
            data_sha256=self.data_sha256,
            examples=self.examples,
            rows=tuple(
                RecordedRow(
                    label="with the adapter" if row.kind == "adapter" else row.label,
                    prompt_tokens=row.prompt_tokens,
                    generated_tokens=row.generated_tokens,
                    scores=dict(row.scores),
                    intervals=dict(row.intervals),
                )
                for row in rows
            ),
            verdict=self.verdicts[label],
            settings=dict(self.settings),
        )
