"""From the store to a repo on the Hub: one commit, made on the one that was looked at.

A push compares first and then commits what differs; so one whose answer was lost is known to have
arrived, and pushing again changes nothing.
"""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from huggingface_hub import CommitOperationAdd, CommitOperationDelete

from adapterhub.adapter import CARD_FILE, Adapter
from adapterhub.base_name import hub_id
from adapterhub.errors import AdapterHubError, ConflictError, InvalidInputError, NotFoundError, UnavailableError
from adapterhub.hub import remote
from adapterhub.hub.card import make_card
from adapterhub.hub.client import hub_client
from adapterhub.hub.digest import digest_of, oid_of
from adapterhub.hub.failures import disk_errors, hub_calls, require_login
from adapterhub.hub.result import Pushed, PushedFile
from adapterhub.hub.target import Target
from adapterhub.store import AdapterRef, Store


@dataclass(frozen=True)
class _State:
    """What the repo has at the revision; where there is no such branch yet, at main, which it starts from."""

    commit: str = ""
    """Empty when there is no such repo."""
    has_branch: bool = False
    oids: Mapping[str, str] = field(default_factory=dict)
    """Of the files of an adapter, by name."""
    card: str = ""
    tags: Mapping[str, str] = field(default_factory=dict)
    """Commits by tag."""


def push(ref: AdapterRef | str, store: Store, target: Target, *, dry_run: bool = False) -> Pushed:
    """Commit the adapter `ref`, with its card, to the Hub as `target` says, and record that in the store.

    The repo is made when it is missing. What is there already makes no commit. A dry run changes nothing.
    Raises InvalidInputError when the base has no id on the Hub, ConflictError when somebody else commits
    meanwhile, the tag is another commit's or a repo that should be private is not, and as `hub_calls`.
    """
    pinned = store.pin(ref)
    adapter = store.resolve(pinned)
    base_model = _base_model(adapter, target)
    if not dry_run:
        require_login(target.repo)
    with hub_client(), disk_errors(), TemporaryDirectory(prefix="adapterhub-push-") as folder:
        state = _look(target)
        files = _files(adapter, target, base_model, state, Path(folder))
        plan = _plan(target, files, state)
        _check_tag(target, state, plan)
        if dry_run:
            return plan
        if not state.has_branch:
            _make_branch(target, state)
            state = _look(target)
            files = _files(adapter, target, base_model, state, Path(folder))  # somebody may have made it with a card
            plan = _plan(target, files, state)
        if plan.changes:
            message = f"adapterhub push {adapter.digest}"
            plan = plan._replace(commit=_commit(target, files, state, plan, message))
        if target.tag:
            _tag(target, plan.commit)
        store.note(pinned, action="push", source=f"hf:{target.repo}:{target.revision}", commit=plan.commit)
    return plan


def _base_model(adapter: Adapter, target: Target) -> str:
    recorded = adapter.base.id if adapter.base else str(adapter.config.get("base_model_name_or_path") or "")
    if found := target.base_model or hub_id(recorded):
        return found
    known = f"{recorded!r}, as it is recorded, is none" if recorded else "none is recorded"
    raise InvalidInputError(
        f"{adapter.name}: a card names the base by its id on the Hub, and {known}; give --base-model org/name",
        field="base_model",
    )


def _look(target: Target) -> _State:
    """Raises ConflictError for a repo that is public and should not be."""
    try:
        with hub_calls(target.repo):
            found = remote.api().model_info(target.repo)
            refs = remote.api().list_repo_refs(target.repo)
    except NotFoundError:
        return _State()
    if target.private and not found.private:
        raise ConflictError(f"{target.repo}: it is public already; its settings on the Hub make it private")
    branches = {branch.name: branch.target_commit for branch in refs.branches}
    commit = branches.get(target.revision) or str(found.sha)
    listing = remote.list_folder(target.repo, commit)
    return _State(
        commit,
        has_branch=target.revision in branches,
        oids={name: file.oid for name, file in listing.files.items()},
        card=_card(target.repo, commit, listing),
        tags={tag.name: tag.target_commit for tag in refs.tags},
    )


def _card(repo: str, commit: str, listing: remote.Listing) -> str:
    """The card that is there; empty when there is none."""
    if CARD_FILE not in listing.files:
        return ""
    only = remote.Listing({CARD_FILE: listing.files[CARD_FILE]})
    remote.check_sizes(only, where=f"{repo}@{commit}")
    with TemporaryDirectory(prefix="adapterhub-push-") as folder:
        remote.fetch(repo, commit, only, Path(folder))
        return _text(Path(folder) / CARD_FILE, repo)


def _text(path: Path, whose: str) -> str:
    try:
        return path.read_bytes().decode()
    except UnicodeDecodeError:
        raise ConflictError(f"{whose}: its {CARD_FILE} is not UTF-8; mend it there") from None


def _files(adapter: Adapter, target: Target, base_model: str, state: _State, folder: Path) -> dict[str, Path]:
    """The adapter's files as the store has them, and the card, which is written to `folder`."""
    own = _text(adapter.files[CARD_FILE], adapter.name) if CARD_FILE in adapter.files else ""
    card = folder / CARD_FILE
    card.write_bytes(make_card(adapter, target, base_model, state.card or own).encode())
    return {**adapter.files, CARD_FILE: card}


def _plan(target: Target, files: Mapping[str, Path], state: _State) -> Pushed:
    changes = [_change(name, path, state.oids.get(name, "")) for name, path in files.items()]
    changes += [PushedFile(name, 0, "removed") for name in state.oids.keys() - files.keys()]
    card = files[CARD_FILE].read_bytes().decode()
    diff = difflib.unified_diff(
        state.card.splitlines(), card.splitlines(), f"{CARD_FILE} on the Hub", f"{CARD_FILE} pushed", lineterm=""
    )
    return Pushed(
        repo=target.repo,
        revision=target.revision,
        parent=state.commit,
        commit=state.commit if all(file.change == "same" for file in changes) else "",
        files=tuple(sorted(changes)),
        card=card,
        card_diff="\n".join(diff),
        digest=digest_of(files),
    )


def _change(name: str, path: Path, oid: str) -> PushedFile:
    size = path.stat().st_size
    if not oid:
        return PushedFile(name, size, "new")
    return PushedFile(name, size, "same" if oid_of(path, length=len(oid)) == oid else "changed")


def _check_tag(target: Target, state: _State, plan: Pushed) -> None:
    held = state.tags.get(target.tag)
    if held and held != plan.commit:
        raise ConflictError(f"{target.repo}: tag {target.tag!r} is commit {held} already; give another, or none")


def _make_branch(target: Target, state: _State) -> None:
    """The repo and the branch, where they are missing."""
    with hub_calls(target.repo, target.revision):
        if not state.commit:
            remote.api().create_repo(target.repo, private=target.private or None, exist_ok=True)
        if target.revision != "main":
            remote.api().create_branch(target.repo, branch=target.revision, exist_ok=True)


def _commit(target: Target, files: Mapping[str, Path], state: _State, plan: Pushed, message: str) -> str:
    """Made once. Whether one that was refused, or whose answer was lost, has arrived, a second look tells."""
    operations: list[Any] = [
        CommitOperationDelete(file.name)
        if file.change == "removed"
        else CommitOperationAdd(file.name, str(files[file.name]))
        for file in plan.files
        if file.change != "same"
    ]
    try:
        with hub_calls(target.repo, target.revision):
            made = remote.api().create_commit(
                target.repo,
                operations,
                commit_message=message,
                revision=target.revision,
                parent_commit=state.commit,
            )
        return str(made.oid)
    except (ConflictError, UnavailableError) as error:
        return _arrived(target, files, state, error)
    except ValueError as error:
        if not str(error).startswith("Invalid metadata"):
            raise
        reason = " ".join(str(error).split())
        raise InvalidInputError(f"{target.repo}: the Hub does not take the card: {reason}", field="card") from None


def _arrived(target: Target, files: Mapping[str, Path], before: _State, error: AdapterHubError) -> str:
    """The commit, when the branch has all of it after all. Raises ConflictError for somebody else's, else `error`."""
    now = _look(target)
    if not _plan(target, files, now).changes:
        return now.commit
    if now.commit != before.commit:
        raise ConflictError(
            f"{target.repo}: somebody else committed to {target.revision} meanwhile ({now.commit}); "
            "look at it and push again"
        )
    raise error


def _tag(target: Target, commit: str) -> None:
    with hub_calls(target.repo, target.tag):
        remote.api().create_tag(target.repo, tag=target.tag, revision=commit, exist_ok=True)
        refs = remote.api().list_repo_refs(target.repo)
    held = {tag.name: tag.target_commit for tag in refs.tags}.get(target.tag)
    if held != commit:
        raise ConflictError(f"{target.repo}: {commit} is pushed, but tag {target.tag!r} is commit {held}")
