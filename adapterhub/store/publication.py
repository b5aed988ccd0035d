"""One adapter on its way into the store: its blobs first, then the tag."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from dataclasses import replace

from adapterhub.adapter import read_files
from adapterhub.errors import AdapterHubError
from adapterhub.store.blobs import Blobs
from adapterhub.store.manifest import Blob, Manifest
from adapterhub.store.ref import AdapterRef
from adapterhub.store.refs import Refs
from adapterhub.store.sweep import KEEP_HISTORY, mark, sweep


class Publication:
    """The files of an adapter, `contents` by name, to be pointed at by the tag `ref`."""

    def __init__(self, ref: AdapterRef, contents: Mapping[str, bytes], *, refs: Refs, blobs: Blobs) -> None:
        self._refs = refs
        self._blobs = blobs
        self._manifest = Manifest.of(contents)
        self._files = {Blob.of(content).digest: content for content in contents.values()}
        self.ref = replace(ref, digest=Blob.of(self._manifest.to_bytes()).digest)
        self._new: list[str] = []

    def put(self) -> None:
        """Keep the files. Raises UnavailableError when the disk does not take them."""
        for content in self._files.values():
            self._put(content)

    def point(self, *, expected: str | None, action: str, source: str, commit: str) -> None:
        """Keep the manifest and move the tag.

        What the store holds is read first, not the folder the files came from, which may have changed
        meanwhile. Raises CorruptAdapterError, ConflictError, and UnavailableError when the lock is held or the
        disk does not take it.
        """
        with self._refs.locked():
            for digest, content in self._files.items():  # a sweep may have taken one; from here on there is none
                if not self._blobs.has(digest):
                    self._put(content)
            located = {name: self._blobs.locate(blob) for name, blob in self._manifest.files.items()}
            read_files(located, where=str(self.ref))
            self._put(self._manifest.to_bytes())
            self._refs.move(self.ref, expected=expected, action=action, source=source, commit=commit)

    def take_back(self) -> None:
        """Remove the blobs that are new by this publication, where nobody else has come to need them."""
        with suppress(AdapterHubError, OSError), self._refs.locked():
            marked = mark(self._refs, self._blobs, keep_history=KEEP_HISTORY)
            sweep(self._blobs, marked, self._new, grace=0, dry_run=False)

    def _put(self, content: bytes) -> None:
        digest = Blob.of(content).digest
        if not self._blobs.has(digest):
            self._new.append(digest)
        self._blobs.put(content)
