"""Records of a kind that an objective does not learn from."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from adapterhub.data.dataset import Dataset
from adapterhub.errors import DataError
from adapterhub.objective import Objective
from adapterhub.records import KINDS


def wrong_kinds(dataset: Dataset, objective: Objective[Any]) -> Iterator[DataError]:
    """What is wrong with each such record."""
    wanted = " or ".join(KINDS[kind] for kind in objective.records)
    for record in dataset.records:
        if not isinstance(record, objective.records):
            problem = f"objective {objective.name} learns from {wanted}, not from {KINDS[type(record)]}"
            yield DataError(dataset.source, record.line, problem)
