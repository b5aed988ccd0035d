"""Figures into an adapter's own record: the same tensors, published again.

An adapter's identity is its content, and its record is part of that: what is said of it cannot be
changed behind its digest. So the adapter with the figures is another digest, the tag moves to it, and
the tag's log says `eval`. What was pinned to the digest before stays what it was.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from tempfile import TemporaryDirectory

from adapterhub.adapter import PROVENANCE_FILE, Adapter, write_json
from adapterhub.errors import InvalidInputError
from adapterhub.evaluation_record import EvaluationRecord
from adapterhub.store import AdapterRef, Store


def check_recordable(ref: str, adapter: Adapter) -> None:
    """Raises InvalidInputError when the figures of what `ref` names have no place to go."""
    if AdapterRef.parse(ref).digest:
        raise InvalidInputError(f"record: {ref} is a digest, which cannot change; give name[:tag]", field="record")
    if adapter.provenance is None:
        raise InvalidInputError(
            f"record: {ref} has no record of its own, as somebody else made it; `adapterhub import` gives it one",
            field="record",
        )


def record(store: Store, pinned: AdapterRef, adapter: Adapter, found: EvaluationRecord) -> AdapterRef:
    """Publish the adapter with `found` in its record, in place of an earlier evaluation on the same examples.

    `pinned` is what was evaluated. When it holds that already, nothing is published.
    Raises ConflictError when the tag has moved since, and as `Store.publish`.
    """
    assert adapter.provenance is not None
    results = (*_others(adapter.provenance.results, found), found)
    if results == adapter.provenance.results:
        return pinned
    with TemporaryDirectory(prefix="adapterhub-eval-") as made:
        folder = Path(made)
        adapter.copy_to(folder)
        changed = adapter.provenance.model_copy(update={"results": results})
        (folder / PROVENANCE_FILE).unlink()
        write_json(folder / PROVENANCE_FILE, changed.model_dump(mode="json"))
        return store.publish(folder, pinned.label, expected=pinned.digest, action="eval")


def _others(results: Iterable[EvaluationRecord], found: EvaluationRecord) -> tuple[EvaluationRecord, ...]:
    return tuple(each for each in results if each.data_sha256 != found.data_sha256)
