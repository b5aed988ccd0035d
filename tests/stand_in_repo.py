"""A repo of the stand-in hub: commits, branches and tags in memory."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from huggingface_hub.utils.sha import git_hash

Files = Mapping[str, bytes]


@dataclass
class Repo:
    """One model repo. A branch, tag or commit names a commit; a commit is the files of it."""

    owner: str
    private: bool = False
    gated: bool = False
    commits: dict[str, dict[str, bytes]] = field(default_factory=dict)
    branches: dict[str, str] = field(default_factory=dict)
    tags: dict[str, str] = field(default_factory=dict)

    def commit(self, files: Files, branch: str = "main", *, gone: tuple[str, ...] = ()) -> str:
        """Add a commit on a branch: `files` over those it has, without `gone`; its 40-hex name."""
        parent = self.branches.get(branch, self.branches.get("main", ""))
        content = {**self.commits.get(parent, {}), **files}
        kept = {name: held for name, held in content.items() if name not in gone}
        sha = hashlib.sha1(f"{parent}{len(self.commits)}{sorted(files)}".encode()).hexdigest()
        self.commits[sha] = kept
        self.branches[branch] = sha
        return sha

    def resolve(self, revision: str) -> str:
        """The commit a revision names; empty when there is none."""
        if revision in self.commits:
            return revision
        return self.branches.get(revision) or self.tags.get(revision) or ""


def oid_of(name: str, content: bytes) -> str:
    """A file's name on the Hub: sha256 of a large file, as which those of tensors count, git's sha1 of others."""
    return hashlib.sha256(content).hexdigest() if name.endswith(".safetensors") else git_hash(content)


def tree(files: Files, folder: str, recursive: bool) -> list[dict[str, Any]]:
    """A folder as the Hub lists it; empty when there is no such folder."""
    start = f"{folder}/" if folder else ""
    inside = {name: content for name, content in files.items() if name.startswith(start)}
    listed: dict[str, dict[str, Any]] = {}
    for name, content in inside.items():
        first, slash, _ = name.removeprefix(start).partition("/")
        if slash and not recursive:
            listed[start + first] = {"type": "directory", "path": start + first, "oid": "0" * 40, "size": 0}
            continue
        listed[name] = {"type": "file", "path": name, "oid": git_hash(content), "size": len(content)}
        if name.endswith(".safetensors"):
            oid = oid_of(name, content)
            listed[name]["lfs"] = {"oid": oid, "size": len(content), "pointerSize": 130}
    return list(listed.values())
