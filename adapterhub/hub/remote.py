"""One commit of a repo on the Hub: which files of an adapter it has, and their bytes, checked.

What was fetched once lies in `huggingface_hub`'s own cache, by commit, with what is known not to be
there; so the same commit is had again without the Hub.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from huggingface_hub import _CACHED_NO_EXIST, HfApi, constants, hf_hub_download, try_to_load_from_cache
from huggingface_hub.errors import RemoteEntryNotFoundError, RevisionResolutionError
from huggingface_hub.hf_api import RepoFile

from adapterhub import __version__
from adapterhub.adapter import ADAPTER_FILES, CONFIG_FILE, MAX_JSON_BYTES, PICKLED_FILES, TENSORS_FILE
from adapterhub.errors import CorruptAdapterError, NotFoundError, UnavailableError
from adapterhub.hub.digest import oid_of
from adapterhub.hub.failures import hub_calls
from adapterhub.hub.target import COMMIT

MAX_LISTED = 5000
"""Entries of one folder; what an adapter's repo has is a few."""


MAX_BYTES = 8 << 30
"""A longer file of tensors is fetched only when that is asked for."""


@dataclass(frozen=True)
class RemoteFile:
    """A file of an adapter in a repo, as the Hub lists it."""

    size: int
    """Bytes."""
    oid: str
    """Hex sha256 of a large file, git's sha1 of another."""


@dataclass(frozen=True)
class Listing:
    """What a folder of a repo has at one commit."""

    files: Mapping[str, RemoteFile]
    """The files of an adapter, by name."""
    folders: tuple[str, ...] = ()
    others: tuple[str, ...] = ()
    """Names of all other files."""


def api() -> HfApi:
    """The Hub that HF_ENDPOINT names; the library itself reads it when it is imported, which may have been long ago."""
    return HfApi(endpoint=os.environ.get("HF_ENDPOINT"), library_name="adapterhub", library_version=__version__)


def is_offline() -> bool:
    """Whether HF_HUB_OFFLINE says so."""
    return constants.is_offline_mode()


def resolve(repo: str, revision: str) -> str:
    """The 40-hex commit that a branch, tag or commit names on the Hub. Raises as `hub_calls`."""
    with hub_calls(repo, revision):
        commit = str(api().resolve_revision(repo, revision=revision).resolved)
    if not COMMIT.fullmatch(commit):
        raise UnavailableError(f"{repo}@{revision}: the Hub says {commit[:60]!r}, which is no commit")
    return commit


def resolve_cached(repo: str, revision: str) -> str:
    """The commit it named when it was last asked for; empty when it never was."""
    try:
        return str(api().resolve_revision(repo, revision=revision, local_files_only=True).resolved)
    except RevisionResolutionError:
        return ""


def list_folder(repo: str, commit: str, subfolder: str = "") -> Listing:
    """One folder of a commit, not those below. Raises as `hub_calls`; UnavailableError for a folder without end."""
    files, folders, others = {}, [], []
    with hub_calls(repo, commit):
        try:
            for count, entry in enumerate(api().list_repo_tree(repo, subfolder or None, revision=commit)):
                if count == MAX_LISTED:
                    raise UnavailableError(f"more than {MAX_LISTED} entries in its folder {subfolder or '/'}")
                name = entry.path.rpartition("/")[2]
                if not isinstance(entry, RepoFile):
                    folders.append(name)
                elif name in ADAPTER_FILES:
                    oid = entry.lfs.sha256 if entry.lfs else entry.blob_id
                    files[name] = RemoteFile(entry.size, oid)
                else:
                    others.append(name)
        except RemoteEntryNotFoundError:
            raise NotFoundError(f"{repo}@{commit}: no folder {subfolder!r}", resource=subfolder) from None
    return Listing(files, tuple(folders), tuple(others))


def check_listing(listing: Listing, *, where: str, max_bytes: int = MAX_BYTES) -> None:
    """Raises CorruptAdapterError when it is no adapter, or a file is longer than is accepted; nothing was fetched."""
    if CONFIG_FILE not in listing.files:
        below = ", ".join(listing.folders[:10])
        hint = f"; --subfolder chooses one of its folders: {below}" if below else ""
        raise CorruptAdapterError(f"{where}: not an adapter (no {CONFIG_FILE}){hint}")
    if TENSORS_FILE not in listing.files:
        pickled = [name for name in listing.others if name in PICKLED_FILES]
        reason = f"; {pickled[0]} is pickled, which is never loaded" if pickled else ""
        raise CorruptAdapterError(f"{where}: not an adapter (no {TENSORS_FILE}){reason}")
    check_sizes(listing, where=where, max_bytes=max_bytes)


def check_sizes(listing: Listing, *, where: str, max_bytes: int = MAX_BYTES) -> None:
    """Raises CorruptAdapterError for a file that is longer than is accepted."""
    for name, file in listing.files.items():
        limit = max_bytes if name == TENSORS_FILE else MAX_JSON_BYTES
        if file.size > limit:
            raise CorruptAdapterError(f"{where}: {name} has {file.size} bytes; accepted are up to {limit}")


def fetch(repo: str, commit: str, listing: Listing, into: Path, *, subfolder: str = "") -> None:
    """Copy the listed files to the folder `into`, out of the cache, which is filled first; every byte is checked.

    Raises as `hub_calls`, and CorruptAdapterError when the Hub sends other bytes than it lists.
    """
    for name, file in listing.files.items():
        path = _path(subfolder, name)
        _copy(_download(repo, commit, path), into / name)
        if oid_of(into / name, length=len(file.oid)) != file.oid:  # the cache may hold what was damaged since
            _copy(_download(repo, commit, path, again=True), into / name)
        if oid_of(into / name, length=len(file.oid)) != file.oid:
            raise CorruptAdapterError(f"{repo}@{commit}: {path} came with other bytes than the Hub lists")
    for name in set(ADAPTER_FILES) - listing.files.keys():
        _note_absence(repo, commit, _path(subfolder, name))


def fetch_cached(repo: str, commit: str, into: Path, *, subfolder: str = "") -> bool:
    """The same without the Hub; False when the cache does not hold all of it.

    Raises CorruptAdapterError when the cache was damaged.
    """
    for name in ADAPTER_FILES:
        held = try_to_load_from_cache(repo, _path(subfolder, name), revision=commit)
        if held is _CACHED_NO_EXIST:
            continue
        if not isinstance(held, str):
            return False
        _copy(Path(held), into / name)
        oid = Path(held).resolve().name  # the cache names its blobs by what they are; by nothing where it has no links
        if len(oid) in (40, 64) and oid_of(into / name, length=len(oid)) != oid:
            raise CorruptAdapterError(f"{repo}@{commit}: {held} in the cache was altered; pull again with the Hub")
    return (into / CONFIG_FILE).is_file() and (into / TENSORS_FILE).is_file()


def _download(repo: str, commit: str, path: str, *, again: bool = False) -> Path:
    with hub_calls(repo, commit):
        endpoint = os.environ.get("HF_ENDPOINT")
        return Path(hf_hub_download(repo, path, revision=commit, endpoint=endpoint, force_download=again))


def _note_absence(repo: str, commit: str, path: str) -> None:
    """The cache remembers what the Hub does not have."""
    if try_to_load_from_cache(repo, path, revision=commit) is _CACHED_NO_EXIST:
        return
    with hub_calls(repo, commit), suppress(RemoteEntryNotFoundError):
        hf_hub_download(repo, path, revision=commit, endpoint=os.environ.get("HF_ENDPOINT"))


def _path(subfolder: str, name: str) -> str:
    return f"{subfolder}/{name}" if subfolder else name


def _copy(source: Path, target: Path) -> None:
    with source.open("rb") as file, target.open("wb") as copy:
        shutil.copyfileobj(file, copy)
