"""Reading everything in a store again, and putting what is damaged aside.

A damaged blob goes to `quarantine/<hex>`, with a note beside it, `<hex>.json`, of what was wrong and which
tags need it. Publishing the same adapter again mends them. Nothing else is moved.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from adapterhub.errors import CorruptAdapterError, UnsupportedAdapterError
from adapterhub.store.blobs import Blobs
from adapterhub.store.durable import write_durably, writing
from adapterhub.store.plain import plain_folders
from adapterhub.store.ref import AdapterRef
from adapterhub.store.ref_move import now
from adapterhub.store.refs import Refs


@dataclass(frozen=True)
class Damage:
    """Something in the store that is not as it was written."""

    what: str
    """The digest of a blob, or the label of a tag."""
    problem: str
    refs: tuple[str, ...]
    """Labels of the tags that need it."""
    quarantined: str = ""
    """Where the damaged file was put; empty when nothing was moved."""


@dataclass(frozen=True)
class Verified:
    """What was read, and what of it is damaged."""

    blobs: int
    nbytes: int
    damaged: tuple[Damage, ...]


class Verification:
    """One pass over a store. Needs the lock only to put something aside; others may publish meanwhile."""

    def __init__(self, root: Path, refs: Refs, blobs: Blobs) -> None:
        self._refs = refs
        self._blobs = blobs
        self._root = root
        self._quarantine = root / "quarantine"
        self._needed_by: dict[str, list[AdapterRef]] = {}
        """Digest of a blob -> the tags that need it, pinned."""

    def run(self) -> Verified:
        """Raises UnavailableError when a damaged blob cannot be put aside."""
        damaged = [damage for ref in self._refs if (damage := self._damage_of_ref(ref))]
        damaged += [damage for ref in self._refs.logged() if (damage := self._damage_of_log(ref))]
        count, nbytes = 0, 0
        for digest in self._blobs:
            try:
                nbytes += self._blobs.path(digest).lstat().st_size
            except FileNotFoundError:
                continue  # a sweep removed it meanwhile
            count += 1
            if damage := self._damage_of_blob(digest):
                damaged.append(damage)
        known = {damage.what for damage in damaged}
        damaged += [damage for damage in self._missing() if damage.what not in known]
        return Verified(count, nbytes, tuple(damaged))

    def _damage_of_ref(self, ref: AdapterRef) -> Damage | None:
        """Of the ref itself, or of a manifest that is none; fills what it needs."""
        try:
            if not (digest := self._refs.read(ref)):
                return None  # removed meanwhile
            pinned = replace(ref, digest=digest)
            self._needed_by.setdefault(digest, []).append(pinned)
            if self._problem(digest):
                return None  # found again among the blobs, or the missing ones
            for blob in self._blobs.manifest(digest).files.values():
                self._needed_by.setdefault(blob.digest, []).append(pinned)
        except UnsupportedAdapterError:
            return None  # of a newer version, which knows what it needs
        except CorruptAdapterError as error:
            return Damage(ref.label, str(error), (ref.label,))
        return None

    def _damage_of_log(self, ref: AdapterRef) -> Damage | None:
        try:
            self._refs.check_log(ref)
        except CorruptAdapterError as error:
            return Damage(ref.label, str(error), (ref.label,))
        return None

    def _damage_of_blob(self, digest: str) -> Damage | None:
        if not self._problem(digest):
            return None
        with self._refs.locked():
            if not (problem := self._problem(digest)) or not os.path.lexists(self._blobs.path(digest)):
                return None  # a publisher mended it meanwhile, or a sweep removed it
            return self._set_aside(digest, problem)

    def _set_aside(self, digest: str, problem: str) -> Damage:
        path = self._blobs.path(digest)
        aside = self._quarantine / path.name
        plain_folders(self._root, self._quarantine.name)
        damage = Damage(digest, problem, _labels(self._needed_by.get(digest, [])), str(aside))
        note = json.dumps(asdict(damage) | {"at": now()}, indent=2)
        write_durably(aside.with_suffix(".json"), f"{note}\n".encode())
        with writing(aside, 0):
            path.replace(aside)
        return damage

    def _missing(self) -> Iterator[Damage]:
        """What tags need that is not there, unless they moved on meanwhile."""
        for digest, refs in self._needed_by.items():
            if not self._blobs.has(digest) and (held := [ref for ref in refs if self._refs.read(ref) == ref.digest]):
                yield Damage(digest, f"{self._blobs.path(digest)}: missing", _labels(held))

    def _problem(self, digest: str) -> str:
        """What is wrong with a blob; empty when it is right."""
        try:
            self._blobs.verify(digest)
        except CorruptAdapterError as error:
            return str(error)
        return ""


def _labels(refs: list[AdapterRef]) -> tuple[str, ...]:
    return tuple(sorted({ref.label for ref in refs}))
