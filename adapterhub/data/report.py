"""What a check of training data tells."""

from __future__ import annotations

from typing import Any, NamedTuple

from adapterhub.data.dataset import Dataset
from adapterhub.data.finding import Finding
from adapterhub.data.lengths import Lengths


class FileReport(NamedTuple):
    """One data set."""

    dataset: Dataset
    lengths: Lengths | None
    """None when no record could be read."""
    over: int | None
    """Records of more tokens than the limit; None when there is no tokenizer to tell."""

    def as_json(self) -> dict[str, Any]:
        dataset, records = self.dataset, len(self.dataset.records)
        return {
            "source": dataset.source,
            "hub": dataset.hub,
            "sha256": dataset.sha256,
            "format": dataset.format,
            "records": records,
            "unused": list(dataset.unused),
            "lengths": self.lengths and self.lengths.as_json(),
            "over_max_length": self.over,
            "over_max_length_share": None if self.over is None or not records else self.over / records,
        }


class DataReport(NamedTuple):
    """All of it."""

    files: tuple[FileReport, ...]
    """The training data, then what is held out, where it was given."""
    errors: int
    """All of them; `findings` lists the first."""
    findings: tuple[Finding, ...]
    """Errors first."""
    max_length: int

    @property
    def warnings(self) -> int:
        return sum(finding.severity == "warning" for finding in self.findings)

    def as_json(self) -> dict[str, Any]:
        return {
            "files": [file.as_json() for file in self.files],
            "max_length": self.max_length,
            "errors": self.errors,
            "warnings": self.warnings,
            "findings": [finding.as_json() for finding in self.findings],
        }
