"""The part of a model card that is written from an adapter's record.

Text out of the record is nobody's we know: it is spelled so that it can neither end a cell, a
section or our two comments, nor become a link, an image or HTML.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterator, Mapping
from typing import Any

from adapterhub.adapter import TENSORS_FILE, Adapter
from adapterhub.base_name import BUILT_IN
from adapterhub.evaluation_record import EvaluationRecord, RecordedRow
from adapterhub.plugins import peft_types
from adapterhub.prompt_format import PromptFormat

BEGIN = "<!-- adapterhub:begin -->"
END = "<!-- adapterhub:end -->"

MAX_ROWS = 100
MAX_RESULTS = 10
MAX_TEXT = 400
"""Characters of one value; a longer one is cut."""
ELSEWHERE = ("format_version", "prompt_format", "evaluations", "results")
"""What the record's table leaves out: it is told by itself."""

_PLAIN = frozenset(" .,/=+-")


def section(adapter: Adapter, repo: str, revision: str, base_model: str) -> str:
    """Our part of the card, from BEGIN to END; `repo`, `revision` and `base_model` are checked names."""
    provenance = adapter.provenance
    parts = [
        _introduction(adapter, base_model),
        _with_peft(adapter, repo, revision, base_model),
        _with_adapterhub(adapter, repo, revision, base_model),
    ]
    if provenance is not None:
        if provenance.prompt_format is not None:
            parts.append(_prompt_format(provenance.prompt_format))
        if provenance.evaluations:
            parts.append(_evaluations(provenance.evaluations))
        parts += [_result(result) for result in provenance.results[:MAX_RESULTS]]
    parts.append(_record(adapter))
    return "\n\n".join((BEGIN, *parts, END))


def one_line(text: str) -> str:
    """`text` cut to MAX_TEXT, on one line, without what cannot be printed."""
    line = " ".join("".join(c if c.isprintable() else " " for c in text).split())
    return line[:MAX_TEXT] + ("..." if len(line) > MAX_TEXT else "")


def plain(value: Any) -> str:
    """A value as text that Markdown and HTML show as it is, on one line."""
    line = one_line(value if isinstance(value, str) else json.dumps(value, ensure_ascii=False))
    return "".join(c if c.isalnum() or c in _PLAIN else f"&#{ord(c)};" for c in line)


def _introduction(adapter: Adapter, base_model: str) -> str:
    method = adapter.provenance.method if adapter.provenance else adapter.peft_type
    link = f"[{plain(base_model)}](https://huggingface.co/{base_model})"
    text = f"A PEFT adapter of the method {plain(method)} for {link}, {adapter.num_parameters:,} parameters."
    if adapter.base is not None and adapter.base.id == BUILT_IN:
        text += (
            f"\n\nIt was trained on the copy of it that adapterhub calls `{BUILT_IN}`, whose weights went through"
            " 4 bits: on the original its outputs differ a little."
        )
    return text


def _with_peft(adapter: Adapter, repo: str, revision: str, base_model: str) -> str:
    at = "" if revision == "main" else f", revision={json.dumps(revision)}"
    known = adapter.peft_type in peft_types()
    lines = [
        "## Use with PEFT",
        "",
        "```python",
        *([] if known else ["import adapterhub.peft  # PEFT does not know this method by itself", ""]),
        "from peft import PeftModel",
        "from transformers import AutoModelForCausalLM, AutoTokenizer",
        "",
        f"base = AutoModelForCausalLM.from_pretrained({json.dumps(base_model)})",
        f"tokenizer = AutoTokenizer.from_pretrained({json.dumps(base_model)})",
        f"model = PeftModel.from_pretrained(base, {json.dumps(repo)}{at})",
        "```",
    ]
    return "\n".join(lines)


def _with_adapterhub(adapter: Adapter, repo: str, revision: str, base_model: str) -> str:
    base = BUILT_IN if adapter.base is not None and adapter.base.id == BUILT_IN else base_model
    source = f"hf:{repo}" if revision == "main" else f"hf:{repo}:{revision}"
    lines = [
        "## Use with adapterhub",
        "",
        "```sh",
        f"adapterhub pull {source} --name mine",
        f"adapterhub serve --base {base}",
        'adapterhub generate --adapter mine "a prompt"',
        "```",
    ]
    return "\n".join(lines)


def _prompt_format(prompt_format: PromptFormat) -> str:
    text = "The prompt is the text as it is."
    if prompt_format.kind == "chat":
        text = "The prompt is one user turn in the base's chat template"
        text += f" (sha256 {plain(prompt_format.template_sha256[:12])})."
    if prompt_format.system_prompt is not None:
        text += f" Its system turn: {plain(prompt_format.system_prompt)}"
    if prompt_format.closes_with:
        text += f"\n\nA response ends with {plain(prompt_format.closes_with)}."
    return f"## Prompts\n\n{text}"


def _evaluations(evaluations: Mapping[str, float]) -> str:
    """One row for what was measured before and after."""
    names = dict.fromkeys(re.sub("_(before|after)$", "", name) for name in evaluations)
    lines = ["## Evaluation", "", "| | base | with the adapter |", "|---|---|---|"]
    for name in names:
        before = evaluations.get(f"{name}_before")
        after = evaluations.get(f"{name}_after", evaluations.get(name))
        lines.append(f"| {plain(name)} | {_figure(before)} | {_figure(after)} |")
    return "\n".join(lines)


def _result(result: EvaluationRecord) -> str:
    """The table of `adapterhub eval`, in hundredths, and its verdict."""
    metrics = list(dict.fromkeys(metric for row in result.rows for metric in row.scores))
    columns = ["", *(plain(metric) for metric in metrics), "prompt tokens", "generated tokens"]
    lines = [
        f"## Against prompting the base, on {result.examples} held-out examples",
        "",
        f"{plain(result.verdict)} ({plain(metrics[0])})." if metrics else plain(result.verdict),
        "",
        f"| {' | '.join(columns)} |",
        f"|{'---|' * len(columns)}",
    ]
    for row in result.rows[:MAX_ROWS]:
        scores = [_score(row, metric) for metric in metrics]
        tokens = [f"{row.prompt_tokens:.1f}", f"{row.generated_tokens:.1f}"]
        lines.append(f"| {' | '.join([plain(row.label), *scores, *tokens])} |")
    settings = ", ".join(f"{plain(name)} {plain(value)}" for name, value in result.settings.items())
    lines += ["", f"In brackets 95 % bootstrap intervals. Examples: sha256 {plain(result.data_sha256)}. {settings}"]
    return "\n".join(lines)


def _score(row: RecordedRow, metric: str) -> str:
    if metric not in row.scores:
        return ""
    low, high = row.intervals.get(metric, (row.scores[metric], row.scores[metric]))
    return f"{100 * row.scores[metric]:.1f} ({100 * low:.1f} to {100 * high:.1f})"


def _figure(value: float | None) -> str:
    return "" if value is None else f"{value:.6g}"


def _record(adapter: Adapter) -> str:
    with adapter.files[TENSORS_FILE].open("rb") as file:
        weights = hashlib.file_digest(file, "sha256").hexdigest()
    rows = [(TENSORS_FILE, f"sha256 {weights}")]
    if adapter.provenance is not None:
        record = adapter.provenance.model_dump(mode="json", exclude=set(ELSEWHERE))
        rows += list(_flat(record))
    lines = ["## How it was made", "", "| | |", "|---|---|"]
    lines += [f"| {plain(name)} | {plain(value)} |" for name, value in rows[:MAX_ROWS]]
    if len(rows) > MAX_ROWS:
        lines.append(f"| and {len(rows) - MAX_ROWS} more | |")
    return "\n".join(lines)


def _flat(record: Mapping[str, Any], start: str = "") -> Iterator[tuple[str, Any]]:
    """`{"a": {"b": 1}}` as `("a b", 1)`; what is empty is left out."""
    for name, value in record.items():
        if isinstance(value, Mapping):
            yield from _flat(value, f"{start}{name} ")
        elif value not in (None, "", []):
            yield f"{start}{name}", value
