"""The store: adapters by content, with names and tags that point at them.

    format_version               "1"
    blobs/sha256/<hex>           files and manifests, by digest
    refs/<namespace>/<name>/<tag>    one line: the digest of a manifest
    log/<namespace>/<name>/<tag>     JSON lines: every move of that tag
    index.sqlite                 what listings say, made from the files when it is not there
    quarantine/                  damaged blobs that `verify` put aside

Any number of processes may publish, read and sweep at once. Publishing writes the files, then the
manifest, then the log's line, then moves the tag: a crash in between leaves blobs nobody points at
and a line that readers tell from what the tag holds, never half an adapter. The log and the index were
added to format 1: a store without them is whole.

A digest resolves under the names that held it, and no other: what a name may open is what it was given. Who
may use which name is for the server to decide.

What is not covered: file systems without `flock`, or where a rename is not one step.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Self

from adapterhub.adapter import ADAPTER_FILES, Adapter, read_files, read_folder
from adapterhub.errors import (
    AdapterNotFoundError,
    ConflictError,
    CorruptAdapterError,
    InvalidInputError,
    RefError,
    UnavailableError,
    did_you_mean,
)
from adapterhub.settings import effective
from adapterhub.store.blobs import Blobs
from adapterhub.store.durable import write_durably
from adapterhub.store.history import held_before, held_once
from adapterhub.store.index import Index
from adapterhub.store.listing import Listing
from adapterhub.store.plain import plain_size
from adapterhub.store.publication import Publication
from adapterhub.store.ref import AdapterRef
from adapterhub.store.ref_move import RefMove
from adapterhub.store.refs import Refs
from adapterhub.store.stored_adapter import StoredAdapter
from adapterhub.store.sweep import GRACE, KEEP_HISTORY, Swept, mark, sweep, sweep_temporary
from adapterhub.store.verify import Verification, Verified

FORMAT_VERSION = "1"


class Store:
    """The adapters under one folder, which is made when something is published."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self._blobs = Blobs(root)
        self._refs = Refs(root)
        self._listing = Listing(self._refs, self._blobs, Index(root / "index.sqlite"))

    @classmethod
    def default(cls) -> Self:
        """The store that the settings name (ADAPTERHUB_STORE), or the user's own. Raises ConfigError."""
        return cls(effective().settings.store)

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
        a file of it is a link out of the folder, UnavailableError when the lock is held or the disk does not
        take it, and ConflictError when the tag holds another digest than expected.
        """
        ref = _unpinned(name)
        self._check_format()
        _refuse_links_out(folder)
        contents = {file: path.read_bytes() for file, path in read_folder(folder).files.items()}
        publication = Publication(ref, contents, refs=self._refs, blobs=self._blobs)
        try:
            self._make()
            publication.put()
            publication.point(expected=expected, action=action, source=source, commit=commit)
        except UnavailableError:
            publication.take_back()
            raise
        return publication.ref

    def tag(self, source: AdapterRef | str, name: str, *, expected: str | None = None) -> AdapterRef:
        """Point `[namespace/]name[:tag]` at what `source` names; the pinned reference.

        Raises RefError, AdapterNotFoundError, CorruptAdapterError when a file of it is missing, UnavailableError
        when the lock is held, and ConflictError when the tag holds another digest than expected.
        """
        ref = _unpinned(name)
        pinned = self.pin(source)
        with self._refs.locked():
            return self._move(replace(ref, digest=pinned.digest), expected, action="tag", source=pinned.label)

    def rollback(self, ref: AdapterRef | str, to: str | None = None) -> AdapterRef:
        """Point a tag at what it held before its last move, or at `to`; the pinned reference.

        `to` is a digest it held once, or the beginning of one. A second rollback takes back the first. A tag
        that was removed comes back. A pinned `ref` is moved only while it holds that digest.
        Raises RefError, AdapterNotFoundError when there is nothing to go back to or its content is gone,
        CorruptAdapterError, ConflictError, and UnavailableError when the lock is held.
        """
        ref = _own(ref)
        self._check_format()
        with self._refs.locked():
            moves = self._refs.history(ref)
            digest = held_once(moves, to, ref=ref) if to else held_before(moves, ref=ref)
            if not self._is_there(digest):
                raise AdapterNotFoundError(f"{ref.label}: the content {digest} is gone", resource=str(ref))
            return self._move(replace(ref, digest=digest), ref.digest or None, action="rollback")

    def remove(self, ref: AdapterRef | str) -> AdapterRef:
        """Remove a tag; the reference, pinned to what it held. Its content stays for `rollback` until it is swept.

        A pinned `ref` is removed only while it holds that digest. Raises RefError, AdapterNotFoundError,
        ConflictError, and UnavailableError when the lock is held.
        """
        ref = _own(ref)
        self._check_format()
        if ref.tag not in self._refs.tags(ref.name):
            self.pin(replace(ref, digest=""))  # says what is near
        with self._refs.locked():
            held = self._refs.move(replace(ref, digest=""), expected=ref.digest or None, action="rm")
        return replace(ref, digest=held)

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
        """Every name and tag, in order, without digests; cheap, as no ref is opened."""
        self._check_format()
        return iter(self._refs)

    def stamp(self) -> object:
        """Another one for another state of the tags; no file is opened."""
        return self._refs.stamp()

    def pin(self, ref: AdapterRef | str) -> AdapterRef:
        """The reference with the digest its tag holds now; one that has a digest keeps it.

        A digest is found under the names that held it, so that what a name may open is what it was given.
        Raises RefError and AdapterNotFoundError, naming what is near.
        """
        ref = _own(ref)
        self._check_format()
        tags = self._refs.tags(ref.name)
        if not tags:
            near = did_you_mean(ref.name, {other.name for other in self._refs})
            raise AdapterNotFoundError(f"no adapter {ref.name!r} in {self.root}{near}", resource=str(ref))
        if ref.digest:
            if not self._refs.ever_held(ref) or not self._blobs.has(ref.digest):
                raise AdapterNotFoundError(f"{ref.name} never held {ref.digest} in {self.root}", resource=str(ref))
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
        blobs = self._blobs.manifest(pinned.digest).files
        files = {name: self._blobs.locate(blob) for name, blob in blobs.items()}
        for blob in blobs.values():
            self._blobs.verify(blob.digest)
        try:
            return read_files(files, where=str(pinned), digest=pinned.digest)
        except FileNotFoundError as error:  # no tag holds it, and a sweep took it just now
            raise CorruptAdapterError(f"{error.filename}: missing") from None

    def describe(self, ref: AdapterRef | str) -> Adapter:
        """As `resolve`, with its tensors' bytes counted and not hashed: for what it says of itself, not to serve."""
        pinned = self.pin(ref)
        files = {name: self._blobs.locate(blob) for name, blob in self._blobs.manifest(pinned.digest).files.items()}
        return read_files(files, where=str(pinned), digest=pinned.digest)

    def list(self) -> tuple[StoredAdapter, ...]:
        """Every tag and what it holds, from headers alone; one that cannot be read says why."""
        self._check_format()
        return self._listing.read()

    def reindex(self) -> int:
        """Make the index anew from the files; how many adapters it holds. Raises UnavailableError."""
        self._check_format()
        return self._listing.rebuild()

    def gc(self, *, grace: float = GRACE, keep_history: float = KEEP_HISTORY, dry_run: bool = False) -> Swept:
        """Remove blobs that no tag holds, or held less than `keep_history` seconds ago, and unfinished files.

        Nothing younger than `grace` seconds goes. Raises IntegrityError when something a tag holds cannot be
        read, and UnavailableError when the lock is held.
        """
        self._check_format()
        if not self.root.exists():
            return Swept()
        with self._refs.locked():
            marked = mark(self._refs, self._blobs, keep_history=keep_history)
            swept = sweep(self._blobs, marked, self._blobs, grace=grace, dry_run=dry_run)
            temporary = sweep_temporary(self.root, grace=grace, dry_run=dry_run)
        return replace(swept, nbytes=swept.nbytes + temporary.nbytes, temporary=temporary.temporary)

    def verify(self) -> Verified:
        """Hash every blob, and put aside the damaged ones. Raises UnavailableError when that cannot be done."""
        self._check_format()
        return Verification(self.root, self._refs, self._blobs).run()

    def _move(self, ref: AdapterRef, expected: str | None, *, action: str, source: str = "") -> AdapterRef:
        """Under the lock: point a tag at something that is there already, whole."""
        for blob in self._blobs.manifest(ref.digest).files.values():
            self._blobs.locate(blob)
        self._refs.move(ref, expected=expected, action=action, source=source)
        return ref

    def _is_there(self, digest: str) -> bool:
        """Whether a sweep has left the manifest and all of its files."""
        if not self._blobs.has(digest):
            return False
        return all(self._blobs.has(blob.digest) for blob in self._blobs.manifest(digest).files.values())

    @property
    def _format_file(self) -> Path:
        return self.root / "format_version"

    def _make(self) -> None:
        if plain_size(self._format_file) is None:
            write_durably(self._format_file, f"{FORMAT_VERSION}\n".encode())

    def _check_format(self) -> None:
        """Raises ConflictError when another version of adapterhub laid this store out differently."""
        if plain_size(self._format_file) is None:
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


def _unpinned(name: str) -> AdapterRef:
    """Where to point at something new. Raises RefError."""
    ref = _own(name)
    if ref.digest:
        raise RefError(f"{name}: a digest follows from the content; publish under name[:tag]", field="name")
    return ref


def _refuse_links_out(folder: Path) -> None:
    """Raises InvalidInputError when a file of the adapter is a link to somewhere else."""
    home = folder.resolve()
    for name in ADAPTER_FILES:
        target = (folder / name).resolve()
        if not target.is_relative_to(home):
            raise InvalidInputError(f"{folder / name}: links to {target}, outside the folder; copy it", field="folder")
