"""An adapter reference: what users type to name an adapter, and its only parser.

    [namespace/]name[:tag][@sha256:<64 hex digits>]

A tag is a pointer that may move; a digest is one content for ever. With a digest, the tag is only
a note of how the adapter was named. `sha256` is no name: a digest alone is not a reference.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Self

from adapterhub.errors import RefError

DEFAULT_TAG = "latest"

_PART = "[a-z0-9][a-z0-9._-]{0,95}"
_REF = re.compile(rf"((?:{_PART}/)?{_PART})(?::({_PART}))?(?:@(sha256:[0-9a-f]{{64}}))?")
_ACCEPTED = (
    "[namespace/]name[:tag][@sha256:<64 hex digits>]; each part has at most 96 of a-z 0-9 . _ -, "
    "starts with a letter or digit and has no '..'"
)


@dataclass(frozen=True, order=True)
class AdapterRef:
    """A checked reference; safe to use as a path. Raises RefError when a part is not accepted."""

    name: str
    """With its namespace, when it has one: `team/digits`."""
    tag: str = DEFAULT_TAG
    digest: str = ""
    """`sha256:...`; empty while the reference is not pinned."""

    def __post_init__(self) -> None:
        if _split(str(self)) != (self.name, self.tag, self.digest):
            raise _error(str(self))

    @classmethod
    def parse(cls, text: str) -> Self:
        """Raises RefError saying what is accepted."""
        name, tag, digest = _split(text)
        return cls(name, tag or DEFAULT_TAG, digest)

    @property
    def label(self) -> str:
        """`name:tag`, without the digest."""
        return f"{self.name}:{self.tag}"

    def __str__(self) -> str:
        return f"{self.label}@{self.digest}" if self.digest else self.label


def _split(text: str) -> tuple[str, str, str]:
    found = _REF.fullmatch(text)
    if found is None or ".." in text or found[1] == "sha256":
        raise _error(text)
    return found[1], found[2] or "", found[3] or ""


def _error(text: str) -> RefError:
    return RefError(f"{text[:200]!r} is not an adapter reference; accepted: {_ACCEPTED}", field="adapter")
