"""What a user calls a split of a data set on the Hub: `hf:org/name[@revision][:[config/]split]`."""

from __future__ import annotations

import re
from typing import NamedTuple, Self

from adapterhub.base_name import HUB_ID
from adapterhub.errors import InvalidInputError

PREFIX = "hf:"
ACCEPTED = "hf:org/name[@revision][:[config/]split]"
_PART = r"[A-Za-z0-9_][\w.-]*"
_REF = re.compile(
    rf"hf:(?P<repo>{HUB_ID})(@(?P<revision>[A-Za-z0-9_][\w./-]*))?(:((?P<config>{_PART})/)?(?P<split>{_PART}))?",
    re.ASCII,
)


class HubRef(NamedTuple):
    """What a user calls a split of a data set."""

    repo: str
    revision: str
    config: str
    """Empty: the only one, or the one that the README says is the default."""
    split: str

    @classmethod
    def parse(cls, text: str) -> Self:
        """Raises InvalidInputError saying what is accepted."""
        match = _REF.fullmatch(text)
        if match is None or ".." in text:
            raise InvalidInputError(f"data: {text!r} is no data set of the Hub (accepted: {ACCEPTED})", field="data")
        return cls(match["repo"], match["revision"] or "main", match["config"] or "", match["split"] or "train")
