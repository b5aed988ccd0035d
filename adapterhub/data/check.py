"""Training data looked at as a whole, before anything is trained on them."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import Any

from adapterhub.data.answers import answers
from adapterhub.data.dataset import Dataset
from adapterhub.data.finding import Finding, counted
from adapterhub.data.kinds import wrong_kinds
from adapterhub.data.lengths import Lengths
from adapterhub.data.measure import Measure, characters
from adapterhub.data.reading import Reading, read_all
from adapterhub.data.repeats import leaks, repeats
from adapterhub.data.report import DataReport, FileReport
from adapterhub.errors import DataError, InvalidInputError
from adapterhub.objective import Objective
from adapterhub.records import Text

LIMIT = 50
"""Most errors that a report lists; the rest is counted."""


def check_records(train: Dataset, validation: Dataset | None = None) -> tuple[Finding, ...]:
    """Warnings about data that can be trained on, without a tokenizer."""
    sides = [train] if validation is None else [train, validation]
    found = [finding for side in sides for finding in (*_unused(side), *repeats(side), *answers(side))]
    return tuple(found if validation is None else [*found, *leaks(train, validation)])


def check_data(
    data: Path | str,
    *,
    validation: Path | str | None = None,
    format_name: str | None = None,
    objective: Objective[Any] | None = None,
    tokens: Measure | None = None,
    max_length: int,
) -> DataReport:
    """Everything that is wrong with the data, or looks so; lengths in characters where there are no `tokens`.

    Raises as `read_all`, for data that are not there.
    """
    read = [read_all(each, format_name) for each in (data, validation) if each is not None]
    errors: list[Finding] = []
    files = []
    for each in read:
        file, faults = _look(each, objective, tokens, max_length)
        files.append(file)
        errors += sorted(faults, key=lambda finding: finding.line)
    sides = [each.dataset for each in read]
    warnings = check_records(sides[0], sides[1] if len(sides) > 1 else None)
    return DataReport(tuple(files), len(errors), (*errors[:LIMIT], *warnings), max_length)


def _look(
    read: Reading, objective: Objective[Any] | None, tokens: Measure | None, max_length: int
) -> tuple[FileReport, list[Finding]]:
    """One data set, and the errors in it."""
    dataset = read.dataset
    faults = [Finding.of(fault, "unreadable") for fault in read.faults]
    if objective is not None:
        faults += [Finding.of(fault, "objective") for fault in wrong_kinds(dataset, objective)]
    lengths: list[int] = []
    over = 0
    for record in dataset.records:
        try:
            length = (tokens or characters)(record)
        except InvalidInputError as error:
            faults.append(Finding.of(DataError(dataset.source, record.line, str(error)), "prompt_format"))
            continue
        lengths.append(length)
        if tokens is None or length <= max_length:
            continue
        over += 1
        if not isinstance(record, Text):  # which is cut to length
            problem = f"{length} tokens, over max_length {max_length}"
            faults.append(Finding.of(DataError(dataset.source, record.line, problem), "too_long"))
    figures = Lengths.of(lengths, "characters" if tokens is None else "tokens")
    return FileReport(dataset, figures, None if tokens is None else over), faults


def _unused(dataset: Dataset) -> Iterator[Finding]:
    if dataset.unused:
        shown = ", ".join(repr(key[:40]) for key in islice(dataset.unused, 10))
        more = f" and {len(dataset.unused) - 10} more" if len(dataset.unused) > 10 else ""
        columns = counted(len(dataset.unused), "column is", "columns are")
        yield Finding.warning(
            "unused_column", dataset.source, f"{columns} not used by format {dataset.format}: {shown}{more}"
        )
