"""`adapterhub show`: all that is known of one adapter."""

from __future__ import annotations

from typing import Any

import click
from rich.filesize import decimal

from adapterhub.adapter import Adapter, Provenance
from adapterhub.cli.ls import summary
from adapterhub.cli.output import echo_json, echo_record
from adapterhub.evaluation_record import EvaluationRecord
from adapterhub.method import COMMON_PEFT_KEYS
from adapterhub.store import AdapterRef, RefMove, Store, StoredAdapter

EXAMPLE = "adapterhub show team/tickets:v2"

EXAMPLE = "adapterhub show team/orders:v1"


@click.command("show")
@click.argument("ref")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def command(ref: str, as_json: bool) -> None:
    """Show all that is known of one adapter: what it is, what it was made from, how, and what came of it.

    REF is [namespace/]name[:tag][@sha256:...]. The content is checked against its digest.
    """
    store = Store.default()
    pinned = store.pin(ref)
    adapter = store.resolve(pinned)
    moves = store.history(pinned)
    if as_json:
        echo_json(_record(pinned, adapter) | {"history": [move.model_dump() for move in moves]})
    else:
        history = {str(number): _told(move) for number, move in enumerate(moves, start=1)}
        echo_record(_groups(pinned, adapter) | {f"history of {pinned.label}": history})


def _record(pinned: AdapterRef, adapter: Adapter) -> dict[str, Any]:
    """Everything, for machines."""
    return summary(StoredAdapter.of(pinned, adapter)) | {
        "tensors": len(adapter.tensors),
        "config": dict(adapter.config),
        "provenance": adapter.provenance.model_dump() if adapter.provenance else None,
        "files": {name: {"bytes": path.stat().st_size, "path": str(path)} for name, path in adapter.files.items()},
    }


def _groups(pinned: AdapterRef, adapter: Adapter) -> dict[str, Any]:
    """The same by what a reader asks; a group with nothing in it is left out."""
    of = StoredAdapter.of(pinned, adapter)
    groups: dict[str, Any] = {
        "adapter": {
            "ref": pinned.label,
            "digest": pinned.digest,
            "method": of.method if of.method == of.peft_type else f"{of.method} ({of.peft_type})",
            "size": f"{of.num_parameters:,} parameters in {len(adapter.tensors)} tensors, {decimal(of.nbytes)}",
            "created": of.created,
        },
        "base": {"id": of.base, "digest": of.base_digest or "not recorded: unverified"},
        "options": {name: value for name, value in adapter.config.items() if name not in COMMON_PEFT_KEYS},
        **(_made(adapter.provenance) if adapter.provenance else {}),
        "files": {name: decimal(path.stat().st_size) for name, path in adapter.files.items()},
    }
    if (base := adapter.base) is not None:
        groups["base"]["revision"] = base.revision
    return {name: group for name, group in groups.items() if group}


def _made(provenance: Provenance) -> dict[str, Any]:
    """How it came to be, and what was measured of it."""
    prompts = provenance.prompt_format
    return {
        "prompts": prompts.model_dump() if prompts else {"kind": "not recorded"},
        "parents": {str(number): parent for number, parent in enumerate(provenance.parents, start=1)},
        "converted from": provenance.converted_from,
        "data": provenance.data,
        "training": {"base held as": provenance.quantization or "not recorded"} | provenance.training,
        "seeds": provenance.seeds,
        "evaluations": _short(provenance.evaluations),
        "results": {str(number): _result(each) for number, each in enumerate(provenance.results, start=1)},
        "forgetting": _short(provenance.forgetting),
        "versions": provenance.versions,
    }


def _result(result: EvaluationRecord) -> dict[str, Any]:
    """One evaluation: each row's scores in hundredths."""
    rows = {
        row.label: ", ".join(f"{name} {100 * value:.1f}" for name, value in row.scores.items()) for row in result.rows
    }
    return {"verdict": result.verdict, "examples": result.examples, "data_sha256": result.data_sha256, **rows}


def _told(move: RefMove) -> str:
    """When what happened to the tag, with the first digits of what it holds since."""
    held = move.digest.removeprefix("sha256:")[:12] or "nothing"
    return " ".join(part for part in (move.at, move.action, held, move.source, move.commit[:12]) if part)


def _short(figures: dict[str, float]) -> dict[str, str]:
    return {name: f"{value:.5g}" for name, value in figures.items()}
