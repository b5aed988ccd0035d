"""What follows from the table: who is best, by how much, and what to beware of."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from adapterhub.adapter import Adapter
from adapterhub.data import Dataset
from adapterhub.evaluate.chosen_metric import ChosenMetric
from adapterhub.evaluate.evaluation import Evaluation, EvaluationRow, Sample
from adapterhub.evaluate.questions import Question, asked_of, expected_of
from adapterhub.evaluate.table import Answered, Measured, difference
from adapterhub.evaluate.verdict import verdict_of

SAMPLES = 5
"""Questions whose answers are kept."""
MANY_CUT = 0.1
"""Share of an adapter's answers that are cut, from which on it is told."""


def conclude(
    metrics: Sequence[ChosenMetric],
    table: Sequence[EvaluationRow],
    measured: Sequence[Measured],
    *,
    data: Dataset,
    samples: tuple[Sample, ...],
    examples: int,
    settings: Mapping[str, Any],
    warnings: tuple[str, ...],
) -> Evaluation:
    """The evaluation of a table, whose rows are those of `measured`; the prompts are first."""
    main = metrics[0].label
    found = dict(zip([row.label for row in table], measured, strict=True))
    prompt = _best(table, "prompt", main)
    adapters = [row.label for row in table if row.kind == "adapter"]
    differences = {label: difference(main, (label, found[label]), (prompt, found[prompt])) for label in adapters}
    top = found[prompt].scores[main]
    return Evaluation(
        examples=examples,
        data_sha256=data.sha256,
        metrics=tuple(metric.label for metric in metrics),
        descriptions=tuple(metric.metric.description for metric in metrics),
        rows=tuple(table),
        differences=differences,
        best=_best(table, "adapter", main) if adapters else "",
        verdicts={
            label: verdict_of(each, adapter=found[label].scores[main], prompt=top, examples=examples)
            for label, each in differences.items()
        },
        settings=settings,
        samples=samples,
        warnings=warnings,
        headline=f"no adapter to compare: the best prompt is {prompt}, with {100 * top:.1f} % {main}",
    )


def samples_of(asked: Sequence[Question], answered: Sequence[Answered]) -> tuple[Sample, ...]:
    """The first questions with everybody's answer."""
    return tuple(
        Sample(
            asked_of(question)[-1]["content"],
            expected_of(question),
            {each.contender.label: each.completions[index].text for each in answered},
        )
        for index, question in enumerate(asked[:SAMPLES])
    )


def warnings_of(table: Sequence[EvaluationRow], adapters: Mapping[str, Adapter], data: Dataset) -> tuple[str, ...]:
    """What makes the figures less than they seem."""
    found = []
    for label, adapter in adapters.items():
        if adapter.provenance is not None and adapter.provenance.data.get("sha256") == data.sha256:
            found.append(f"{label} was trained on these very examples: its figures say nothing of others")
    found += [
        f"{row.label}: {row.cut:.0%} of the answers are as long as allowed, and were cut there"
        for row in table
        if row.kind == "adapter" and row.cut > MANY_CUT
    ]
    if len(adapters) > 1:
        found.append(
            f"the best of {len(adapters)} adapters was picked on these examples, so its figure is a little too good; "
            "pick on validation examples and evaluate that one"
        )
    return tuple(found)


def _best(table: Sequence[EvaluationRow], kind: str, metric: str) -> str:
    """Label of the first of the best."""
    return max((row for row in table if row.kind == kind), key=lambda row: row.scores[metric]).label
