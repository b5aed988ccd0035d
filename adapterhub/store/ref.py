"""An adapter reference: what users type to name an adapter, and its only parser.

    [namespace/]name[:tag][@sha256:<64 hex digits>]               in the store
    hf:namespace/name[:revision][@sha256:<64 hex digits>]         in a repository of the Hugging Face Hub;
                                                                  `@revision`, as bases have it, is the same

A tag is a pointer that may move, and so is a revision that is a branch; a digest is one content for
ever. With a digest, the tag is only a note of how the adapter was named. Names in the store are lower
case, so that they are the same on every file system; those on the Hub keep their case. `sha256` and
`hf` are no names: a digest alone, or a Hub reference without its namespace, is not a reference.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import NamedTuple, Self

from adapterhub.errors import RefError

DEFAULT_TAG = "latest"
DEFAULT_REVISION = "main"
HUB_PREFIX = "hf:"

_PART = "[a-z0-9][a-z0-9._-]{0,95}"
_DIGEST = "(?:@(sha256:[0-9a-f]{64}))?"
_LOCAL = re.compile(rf"((?:{_PART}/)?{_PART})(?::({_PART}))?{_DIGEST}")
_RESERVED = ("sha256", "hf")

_HUB_PART = "[A-Za-z0-9_](?:[A-Za-z0-9._-]{0,94}[A-Za-z0-9_])?"
_REVISION = "[A-Za-z0-9_][A-Za-z0-9._/-]{0,127}"
_HUB = re.compile(rf"({_HUB_PART}/{_HUB_PART})(?:[:@]({_REVISION}))?{_DIGEST}")

_ACCEPTED = (
    "[namespace/]name[:tag][@sha256:<64 hex digits>], where each part has at most 96 of a-z 0-9 . _ -, "
    "starts with a letter or digit and has no '..', or hf:namespace/name[:revision][@sha256:<64 hex digits>] "
    "for a repository of the Hub"
)


class _Fields(NamedTuple):
    name: str
    tag: str
    digest: str
    hub: bool


@dataclass(frozen=True, order=True)
class AdapterRef:
    """A checked reference; a local one is safe to use as a path. Raises RefError when a part is not accepted."""

    name: str
    """With its namespace, when it has one: `team/digits`. On the Hub, the id of the repository."""
    tag: str = DEFAULT_TAG
    """On the Hub, the revision: a branch, a tag or a commit."""
    digest: str = ""
    """`sha256:...`; empty while the reference is not pinned."""
    hub: bool = False
    """Whether it names a repository of the Hub, and nothing in the store."""

    def __post_init__(self) -> None:
        if _split(str(self)) != (self.name, self.tag, self.digest, self.hub):
            raise _error(str(self))

    @classmethod
    def parse(cls, text: str) -> Self:
        """Without a tag, it is `latest`; on the Hub, `main`. Raises RefError saying what is accepted."""
        name, tag, digest, hub = _split(text)
        return cls(name, tag or (DEFAULT_REVISION if hub else DEFAULT_TAG), digest, hub)

    @property
    def label(self) -> str:
        """`name:tag` or `hf:name:revision`, without the digest."""
        return f"{HUB_PREFIX if self.hub else ''}{self.name}:{self.tag}"

    def __str__(self) -> str:
        return f"{self.label}@{self.digest}" if self.digest else self.label


def _split(text: str) -> _Fields:
    hub = text.startswith(HUB_PREFIX)
    found = _HUB.fullmatch(text, len(HUB_PREFIX)) if hub else _LOCAL.fullmatch(text)
    if found is None or ".." in text:
        raise _error(text)
    fields = _Fields(found[1], found[2] or "", found[3] or "", hub)
    if fields.name in _RESERVED or (hub and not _is_on_the_hub(fields)):
        raise _error(text)
    return fields


def _is_on_the_hub(fields: _Fields) -> bool:
    """What the Hub's rules forbid beside the characters: in an id `--` and a last `.git`, in a revision git's own."""
    plain_id = "--" not in fields.name and not fields.name.endswith(".git")
    parts = fields.tag.split("/") if fields.tag else []
    return plain_id and not any(part in ("", ".") or part.startswith(".") or part.endswith(".lock") for part in parts)


def _error(text: str) -> RefError:
    return RefError(f"{text[:200]!r} is not an adapter reference; accepted: {_ACCEPTED}", field="adapter")
