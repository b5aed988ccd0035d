"""From a repo on the Hub into the store: one commit, the files of an adapter alone, through the border of `imports`."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import NamedTuple

from adapterhub.errors import (
    AdapterNotFoundError,
    ConflictError,
    IntegrityError,
    InvalidInputError,
    RefError,
    UnavailableError,
)
from adapterhub.hub import remote
from adapterhub.hub.client import hub_client
from adapterhub.hub.digest import digest_of
from adapterhub.hub.failures import disk_errors
from adapterhub.hub.result import Pulled
from adapterhub.hub.target import COMMIT
from adapterhub.imports import import_adapter
from adapterhub.imports.tokenizer_files import FILES, SETTINGS_FILE, TEMPLATE_FILE
from adapterhub.store import AdapterRef, Store

TOKENIZER = frozenset((*FILES, SETTINGS_FILE, TEMPLATE_FILE))


def pull(
    source: AdapterRef,
    store: Store,
    *,
    name: str = "",
    base: str | None = None,
    subfolder: str = "",
    max_bytes: int = remote.MAX_BYTES,
) -> Pulled:
    """Publish the adapter `hf:org/repo[:revision][@sha256:...]` as `name`, by default as `local_name` says.

    With a digest, only that content. With `base`, every tensor must be one of the method's plan on it.
    Where the Hub cannot be asked, a commit that was fetched before is taken out of the cache.
    Raises NotFoundError, AuthError, UnavailableError; IntegrityError for what is refused; ConflictError
    when the name holds what did not come from this repo; and as `import_adapter` and `Store.publish`.
    """
    if not source.hub:
        raise RefError(f"{source}: not on the Hub; accepted: hf:org/repo[:revision][@sha256:...]", field="adapter")
    local = AdapterRef.parse(name or local_name(source))
    if local.hub or local.digest:
        raise RefError(f"{name}: a name in the store, [namespace/]name[:tag], is accepted", field="name")
    _check_subfolder(subfolder)
    origin = f"hf:{source.name}:{source.tag}"
    with hub_client(), disk_errors(), TemporaryDirectory(prefix="adapterhub-pull-") as folder:
        came, made = Path(folder) / "came", Path(folder) / "made"
        came.mkdir()
        made.mkdir()
        fetched = _fetch(source, came, subfolder, max_bytes)
        commit = fetched.commit
        with _told_as(f"hf:{source.name}@{commit}", came, made):
            imported = import_adapter(came, made, base=base)
        digest = digest_of({path.name: path for path in made.iterdir()})
        if source.digest and digest != source.digest:
            raise IntegrityError(f"{origin} at {commit} is {digest}, not {source.digest}")
        published = store.publish(
            made,
            local.label,
            expected=_replaceable(store, local, digest, source.name),
            action="pull",
            source=origin,
            commit=commit,
        )
    warnings = [warning.replace(str(came), f"hf:{source.name}") for warning in imported.warnings]
    warnings += [f"hf:{source.name}/{file} is not used, the base's is" for file in fetched.tokenizer]
    return Pulled(published, origin, commit, imported.method, imported.base, tuple(warnings), fetched.cached)


def local_name(source: AdapterRef) -> str:
    """What a pulled adapter is called here: the repo's name in lower case; `latest` for main, else the revision.

    Raises RefError when that is no local name.
    """
    tag = "latest" if source.tag == "main" else source.tag
    tag = tag[:12] if COMMIT.fullmatch(tag) else tag.lower().replace("/", "-")
    name = f"{source.name.lower()}:{tag}"
    try:
        return AdapterRef.parse(name).label
    except RefError:
        raise RefError(f"{source}: {name!r} cannot be its name here; give one by --name", field="name") from None


class _Fetched(NamedTuple):
    commit: str
    tokenizer: tuple[str, ...] = ()
    """Files of a tokenizer that lie beside the adapter, and were not fetched."""
    cached: str = ""
    """As in Pulled."""


def _fetch(source: AdapterRef, into: Path, subfolder: str, max_bytes: int) -> _Fetched:
    """The adapter's files are in `into` after."""
    reason = "HF_HUB_OFFLINE is set"
    if not remote.is_offline():
        try:
            commit = remote.resolve(source.name, source.tag)
            listing = remote.list_folder(source.name, commit, subfolder)
            remote.check_listing(listing, where=f"hf:{source.name}@{commit}", max_bytes=max_bytes)
            remote.fetch(source.name, commit, listing, into, subfolder=subfolder)
            return _Fetched(commit, tuple(name for name in listing.others if name in TOKENIZER))
        except UnavailableError as error:
            reason = str(error)
    commit = remote.resolve_cached(source.name, source.tag)
    if commit and remote.fetch_cached(source.name, commit, into, subfolder=subfolder):
        return _Fetched(commit, cached=reason)
    held = f"commit {commit} is not all in the cache" if commit else "nothing of it is in the cache"
    raise UnavailableError(f"{reason}; {held}")


def _replaceable(store: Store, local: AdapterRef, digest: str, repo: str) -> str:
    """What the name holds now, which may be moved. Raises ConflictError when that came from elsewhere."""
    try:
        now = store.pin(local).digest
    except AdapterNotFoundError:
        return ""
    sources = [move.source for move in store.history(local) if move.digest == now and move.source]
    if now != digest and not any(source.startswith(f"hf:{repo}:") for source in sources):
        where = sources[-1] if sources else "this machine"
        raise ConflictError(f"{local.label} holds {now}, which came from {where}; give another name by --name")
    return now


def _check_subfolder(subfolder: str) -> None:
    if subfolder and any(part in ("", ".", "..") for part in subfolder.split("/")):
        raise InvalidInputError(f"subfolder: {subfolder!r} is not a path of plain names", field="subfolder")


@contextmanager
def _told_as(name: str, *folders: Path) -> Iterator[None]:
    """Refusals name what was pulled, not where it lay meanwhile."""
    try:
        yield
    except IntegrityError as error:
        text = str(error)
        for folder in folders:
            text = text.replace(str(folder), name)
        raise type(error)(text) from None
