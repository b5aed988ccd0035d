"""Where a push goes, and what the card says that the adapter does not."""

from __future__ import annotations

import re
from dataclasses import dataclass

from adapterhub.base_name import hub_id
from adapterhub.errors import InvalidInputError
from adapterhub.store import AdapterRef

COMMIT = re.compile("[0-9a-f]{40}")
LICENSE = re.compile(r"[a-z0-9][a-z0-9.-]{0,63}")


@dataclass(frozen=True)
class Target:
    """A repo of the Hub, checked. Raises RefError, or InvalidInputError naming the field."""

    repo: str
    revision: str = "main"
    """A branch; made from main where it is missing."""
    tag: str = ""
    """Put on the commit; empty: none."""
    private: bool = False
    base_model: str = ""
    """The base's id on the Hub; empty: as the adapter records it."""
    license: str = ""
    """Empty: as the card has it."""
    datasets: tuple[str, ...] = ()
    """Ids on the Hub."""

    def __post_init__(self) -> None:
        for field, revision in (("revision", self.revision), ("tag", self.tag or "main")):
            AdapterRef(self.repo, revision, hub=True)
            if COMMIT.fullmatch(revision) or revision.startswith("refs/"):
                raise InvalidInputError(f"{field}: {revision!r} is not for a push; accepted: a plain name", field=field)
        for field, ids in (("base_model", (self.base_model,)), ("dataset", self.datasets)):
            if wrong := [name for name in ids if name and hub_id(name) != name]:
                raise InvalidInputError(f"{field}: {wrong[0]!r} is no id of the Hub, such as org/name", field=field)
        if self.license and not LICENSE.fullmatch(self.license):
            raise InvalidInputError(
                f"license: {self.license!r} is not one by the Hub's names, such as apache-2.0", field="license"
            )
