"""The store: adapters by content, with names and tags that point at them.

    format_version               "1"
    blobs/sha256/<hex>           files and manifests, by digest
    refs/<namespace>/<name>/<tag>    one line: the digest of a manifest
    log/<namespace>/<name>/<tag>     JSON lines: every move of that tag

Any number of processes may publish and read at once. Publishing writes the files, then the
manifest, then the log's line, then moves the tag: a crash in between leaves blobs nobody points at
and a line that readers tell from what the tag holds, never half an adapter.

What is not covered: removing anything. A digest resolves under every name the store knows; who
may use which adapter is for the server to decide.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Self

import platformdirs

from adapterhub.adapter import ADAPTER_FILES, MAX_JSON_BYTES, Adapter, read_files, read_folder
from adapterhub.errors import (
    AdapterNotFoundError,
    ConflictError,
    CorruptAdapterError,
    IntegrityError,
    InvalidInputError,
    RefError,
    did_you_mean,
)
from adapterhub.store.blobs import Blobs
from adapterhub.store.durable import write_durably
from adapterhub.store.manifest import Manifest
from adapterhub.store.ref import AdapterRef
from adapterhub.store.ref_move import RefMove
from adapterhub.store.refs import Refs
from adapterhub.store.stored_adapter import StoredAdapter

STORE_VARIABLE = "ADAPTERHUB_STORE"
FORMAT_VERSION = "1"


class Store:
    """The adapters under one folder, which is made when something is published."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self._blobs = Blobs(root / "blobs" / "sha256")
        self._refs = Refs(root / "refs", root / "log")

    @classmethod
    def default(cls) -> Self:
        """The store that ADAPTERHUB_STORE names, or the user's own."""
        named = os.environ.get(STORE_VARIABLE)
        return cls(Path(named) if named else platformdirs.user_data_path("adapterhub") / "store")

    def publish(
        self,
        folder: Path,
        name: str,
        *,
        expected: str | None = None,
        action: str = "publish",
        source: str = "",
        commit: str = "",
    ) -> AdapterRef:
        """Keep the adapter in `folder` and point `[namespace/]name[:tag]` at it; the pinned reference.

        With `expected`, only when the tag holds that digest now (an empty string: holds none). The tag's log
        records `action`, and of a pull `source` (`hf:org/repo:main`) and its 40-hex `commit`.
        Raises RefError, CorruptAdapterError when the folder holds no adapter, InvalidInputError when
        a file of it is a link out of the folder, UnavailableError when the lock is held, and ConflictError
        when the tag holds another digest than expected.
        """
        ref = _own(name)
        if ref.digest:
            raise RefError(f"{name}: a digest follows from the content; publish under name[:tag]", field="name")
        self._check_format()
        _refuse_links_out(folder)
        adapter = read_folder(folder)
        if not self._format_file.exists():
            write_durably(self._format_file, f"{FORMAT_VERSION}\n".encode())
        files = {file: self._blobs.put(path.read_bytes()) for file, path in adapter.files.items()}
        manifest = self._blobs.put(Manifest(files=files).to_bytes())
        ref = replace(ref, digest=manifest.digest)
        with self._refs.locked():
            self._refs.move(ref, expected=expected, action=action, source=source, commit=commit)
        return ref

    def note(self, ref: AdapterRef | str, *, action: str, source: str, commit: str) -> None:
        """Record in the tag's log something done with what `ref` names, such as a push; the tag stays.

        Raises RefError, AdapterNotFoundError, and UnavailableError when the lock is held.
        """
        pinned = self.pin(ref)
        with self._refs.locked():
            self._refs.note(pinned, action=action, source=source, commit=commit)

    def history(self, ref: AdapterRef | str) -> tuple[RefMove, ...]:
        """Every move of a tag, oldest first, and what was noted; the last move leads to what it holds.

        Also of a tag that was removed; empty when there never was one. Raises RefError, and
        CorruptAdapterError for a damaged log or ref.
        """
        ref = _own(ref)
        self._check_format()
        return self._refs.history(ref)

    def labels(self) -> Iterator[AdapterRef]:
        """Every name and tag, in order, without digests; no file is opened."""
        return iter(self._refs)

    def pin(self, ref: AdapterRef | str) -> AdapterRef:
        """The reference with the digest its tag holds now; one that has a digest keeps it.

        Raises RefError and AdapterNotFoundError, naming what is near.
        """
        ref = _own(ref)
        self._check_format()
        tags = self._refs.tags(ref.name)
        if not tags:
            near = did_you_mean(ref.name, {other.name for other in self._refs})
            raise AdapterNotFoundError(f"no adapter {ref.name!r} in {self.root}{near}", resource=str(ref))
        if ref.digest:
            if not self._blobs.path(ref.digest).is_file():
                raise AdapterNotFoundError(f"no content {ref.digest} in {self.root}", resource=str(ref))
            return ref
        if not (digest := self._refs.read(ref)):
            known = ", ".join(tags)
            raise AdapterNotFoundError(f"{ref.name}: no tag {ref.tag!r} (known: {known})", resource=str(ref))
        return replace(ref, digest=digest)

    def resolve(self, ref: AdapterRef | str) -> Adapter:
        """The adapter a reference names, with every byte of it checked against its digest.

        Raises RefError, AdapterNotFoundError, CorruptAdapterError naming the damaged blob, and
        UnsupportedAdapterError for a newer format.
        """
        pinned = self.pin(ref)
        blobs = self._manifest(pinned).files
        files = {name: self._blobs.locate(blob) for name, blob in blobs.items()}
        for blob in blobs.values():
            self._blobs.verify(blob.digest)
        return read_files(files, where=str(pinned), digest=pinned.digest)

    def list(self) -> tuple[StoredAdapter, ...]:
        """Every tag and what it holds, from headers alone; one that cannot be read says why."""
        self._check_format()
        return tuple(self._describe(ref) for ref in self._refs)

    def _describe(self, ref: AdapterRef) -> StoredAdapter:
        try:
            ref = replace(ref, digest=self._refs.read(ref))
            files = {name: self._blobs.locate(blob) for name, blob in self._manifest(ref).files.items()}
            return StoredAdapter.of(ref, read_files(files, where=str(ref), digest=ref.digest))
        except IntegrityError as error:
            return StoredAdapter(ref, error=str(error))

    def _manifest(self, pinned: AdapterRef) -> Manifest:
        path = self._blobs.verify(pinned.digest)
        if path.stat().st_size > MAX_JSON_BYTES:
            raise CorruptAdapterError(f"{path}: not the manifest of an adapter")
        return Manifest.from_bytes(path.read_bytes(), where=str(path))

    @property
    def _format_file(self) -> Path:
        return self.root / "format_version"

    def _check_format(self) -> None:
        """Raises ConflictError when another version of adapterhub laid this store out differently."""
        if not self._format_file.exists():
            return
        found = self._format_file.read_text(encoding="utf-8", errors="replace").strip()
        if found != FORMAT_VERSION:
            raise ConflictError(f"{self.root}: store format {found[:20]!r}; this version reads {FORMAT_VERSION}")


def _own(ref: AdapterRef | str) -> AdapterRef:
    """Raises RefError for what is not a reference, or is one to the Hub."""
    ref = AdapterRef.parse(ref) if isinstance(ref, str) else ref
    if ref.hub:
        raise RefError(f"{ref} is on the Hub, not in the store; `adapterhub pull {ref}` first", field="adapter")
    return ref


def _refuse_links_out(folder: Path) -> None:
    """Raises InvalidInputError when a file of the adapter is a link to somewhere else."""
    home = folder.resolve()
    for name in ADAPTER_FILES:
        target = (folder / name).resolve()
        if not target.is_relative_to(home):
            raise InvalidInputError(f"{folder / name}: links to {target}, outside the folder; copy it", field="folder")
