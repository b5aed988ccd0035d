"""A model card: the metadata and text that an adapter's record gives, put into the card that is there.

A person's part is kept. Metadata is merged key by key; our text stands between two HTML comments,
and everything outside of them stays as it is, to the byte. The block of metadata is written anew
only where a value changes (its comments are lost then).
"""

from __future__ import annotations

import re
from typing import Any

import yaml
from huggingface_hub import EvalResult, ModelCardData
from huggingface_hub.repocard import REGEX_YAML_BLOCK, RepoCard

from adapterhub.adapter import Adapter
from adapterhub.errors import ConflictError
from adapterhub.hub.card_text import BEGIN, END, MAX_RESULTS, one_line, section
from adapterhub.hub.target import Target

HELD_OUT = "held-out"
"""`dataset.type` of our results in the model index; there is no such data set on the Hub."""

_SECTION = re.compile(f"{re.escape(BEGIN)}.*?{re.escape(END)}", re.DOTALL)


def make_card(adapter: Adapter, target: Target, base_model: str, present: str) -> str:
    """The card `present` with what is known of the adapter; a new one when that is empty.

    `base_model` is the base's id on the Hub.
    Raises ConflictError when `present` cannot be read, so that nothing of it is lost.
    """
    mark = "\ufeff" if present.startswith("\ufeff") else ""
    card = _read(present.removeprefix(mark), target.repo)
    before: dict[str, Any] = card.data.to_dict()  # type: ignore[no-untyped-call]
    merged = _merged(before, _metadata(adapter, target, base_model))
    if target.license:
        merged["license"] = target.license
    ours = section(adapter, target.repo, target.revision, base_model)
    newline = "\r\n" if present.partition("\n")[0].endswith("\r") else "\n"
    text = _with_section(card.text, ours, newline, target.repo)
    if merged == before:
        head = present[: len(present) - len(card.text)]
        return head + text
    for key, value in merged.items():
        card.data[key] = value
    card.text = text
    return mark + str(card)


def _read(present: str, repo: str) -> RepoCard:
    """Not a ModelCard, which would take the model index apart and lose what it does not know."""
    try:
        text = present or f"\n# {repo.partition('/')[2]}\n"
        return RepoCard(text if REGEX_YAML_BLOCK.search(text) else f"---\n\n---\n{text}")
    except (ValueError, TypeError, yaml.YAMLError) as error:
        reason = str(error).partition("\n")[0]
        raise ConflictError(f"{repo}: the metadata of its README.md cannot be read: {reason}; mend it there") from None


def _merged(present: dict[str, Any], ours: dict[str, Any]) -> dict[str, Any]:
    """`present` with our values: facts replace, lists grow, the rest is only added where nothing is."""
    merged = dict(present)
    for key in ("library_name", "pipeline_tag"):
        merged.setdefault(key, ours[key])
    merged["base_model_relation"] = ours["base_model_relation"]
    if ours["base_model"] not in _listed(present.get("base_model")):
        merged["base_model"] = ours["base_model"]
    for key in ("tags", "datasets"):
        if new := [value for value in ours.get(key, []) if value not in _listed(present.get(key))]:
            merged[key] = [*_listed(present.get(key)), *new]
    if "model-index" in ours:
        merged["model-index"] = _merged_index(present.get("model-index"), ours["model-index"])
    return merged


def _metadata(adapter: Adapter, target: Target, base_model: str) -> dict[str, Any]:
    provenance = adapter.provenance
    evaluations = provenance.evaluations if provenance else {}
    figures = list(evaluations.items())
    for result in provenance.results[:MAX_RESULTS] if provenance else ():
        figures += result.rows[-1].scores.items() if result.rows else ()
    results = [
        EvalResult(
            task_type="text-generation",
            dataset_type=HELD_OUT,
            dataset_name="held-out examples",
            metric_type=re.sub("_(before|after)$", "", one_line(metric)),
            metric_name=one_line(metric),
            metric_value=value,
        )
        for metric, value in figures
    ]
    data = ModelCardData(
        base_model=base_model,
        datasets=list(target.datasets) or None,
        library_name="peft",
        pipeline_tag="text-generation",
        tags=["adapterhub", one_line(provenance.method if provenance else adapter.peft_type.lower())],
        model_name=target.repo.partition("/")[2] if results else None,
        eval_results=results or None,
        base_model_relation="adapter",
    )
    return dict(data.to_dict())  # type: ignore[no-untyped-call]


def _merged_index(present: Any, ours: list[dict[str, Any]]) -> list[Any]:
    """Our results in place of our earlier ones; every other stays, also where the index is not as it should be."""
    if not isinstance(present, list) or not present:
        return ours
    first = present[0]
    if not isinstance(first, dict) or not isinstance(first.get("results"), list):
        return present
    theirs = [result for result in first["results"] if not _is_ours(result)]
    return [{**first, "results": [*theirs, *ours[0]["results"]]}, *present[1:]]


def _is_ours(result: Any) -> bool:
    dataset = result.get("dataset") if isinstance(result, dict) else None
    return isinstance(dataset, dict) and dataset.get("type") == HELD_OUT


def _listed(value: Any) -> list[Any]:
    if value is None:
        return []
    return list(value) if isinstance(value, list) else [value]


def _with_section(text: str, ours: str, newline: str, repo: str) -> str:
    if text.count(BEGIN) != text.count(END) or text.count(BEGIN) > 1 or text.find(END) < text.find(BEGIN):
        raise ConflictError(f"{repo}: its README.md has {BEGIN} and {END} not once each, in this order; mend it there")
    ours = ours.replace("\n", newline)
    if BEGIN in text:
        return _SECTION.sub(lambda _: ours, text)
    gap = "" if not text else newline if text.endswith(newline) else 2 * newline
    return f"{text}{gap}{ours}{newline}"
