"""A listing: every tag and what it holds, from the index where it can be."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from dataclasses import replace

from adapterhub.adapter import read_files
from adapterhub.errors import IntegrityError, UnavailableError
from adapterhub.store.blobs import Blobs
from adapterhub.store.index import Index, Summary
from adapterhub.store.manifest import Blob
from adapterhub.store.ref import AdapterRef
from adapterhub.store.refs import Refs
from adapterhub.store.stored_adapter import StoredAdapter


class Listing:
    """Lists the tags of `refs`, and keeps what it finds out in `index`."""

    def __init__(self, refs: Refs, blobs: Blobs, index: Index) -> None:
        self._refs = refs
        self._blobs = blobs
        self._index = index

    def read(self) -> tuple[StoredAdapter, ...]:
        """Every tag; one that cannot be read says why. An index that lacks one is written anew, where that can be."""
        known = self._index.read()
        listed, held = self._list(known)
        if held.keys() - known.keys():
            with suppress(UnavailableError):  # a store that is read-only or full is slower to list
                self._index.write(held)
        return listed

    def rebuild(self) -> int:
        """Write the index anew from the adapters' files; how many it holds. Raises UnavailableError."""
        _, held = self._list({})
        self._index.write(held)
        return len(held)

    def _list(self, known: Mapping[str, Summary]) -> tuple[tuple[StoredAdapter, ...], dict[str, Summary]]:
        listed: list[StoredAdapter] = []
        held: dict[str, Summary] = {}
        for ref in self._refs:
            if line := self._line(ref, known, held):
                listed.append(line)
        return tuple(listed), held

    def _line(self, ref: AdapterRef, known: Mapping[str, Summary], held: dict[str, Summary]) -> StoredAdapter | None:
        """One tag, added to `held` when it can be read; None when it was removed meanwhile."""
        try:
            digest = self._refs.read(ref)
        except IntegrityError as error:
            return StoredAdapter(ref, error=str(error))
        if not digest:
            return None
        pinned = replace(ref, digest=digest)
        try:
            summary = held.get(digest) or known.get(digest) or self._summary(digest)
            for blob, size in summary.sizes.items():
                self._blobs.check_size(blob, size)
        except (IntegrityError, FileNotFoundError) as error:
            if self._refs.read(ref) != digest:  # it moved on, and a sweep took what it held
                return self._line(ref, known, held)
            return StoredAdapter(pinned, error=str(error))
        held[digest] = summary
        return summary.of_tag(pinned)

    def _summary(self, digest: str) -> Summary:
        """From the adapter's headers. Raises IntegrityError."""
        manifest = self._blobs.manifest(digest)
        files = {name: self._blobs.locate(blob) for name, blob in manifest.files.items()}
        stored = StoredAdapter.of(AdapterRef("unnamed", digest=digest), read_files(files, where=digest, digest=digest))
        own = Blob(digest=digest, size=self._blobs.path(digest).stat().st_size)
        return Summary.of(stored, (own, *manifest.files.values()))
