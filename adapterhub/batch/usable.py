"""The adapters of a batch, ready before anything is asked."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

from adapterhub.asking import Question
from adapterhub.batch.asker import Asker
from adapterhub.batch.input import Checked, Input
from adapterhub.errors import AdapterHubError, AuthError, ForbiddenError, InvalidInputError, UnavailableError


class Usable(NamedTuple):
    """By the names that the lines have for them."""

    pinned: Mapping[str, str]
    """Pinned references; empty for the bare base."""
    failed: Mapping[str, AdapterHubError]

    @classmethod
    def load(cls, path: Path, checked: Checked, before: Mapping[str, str], asker: Asker, *, skip_bad: bool) -> Usable:
        """Every adapter, with the digest it has in `before` where it is there.

        Raises the first error, naming its line, unless `skip_bad`.
        """
        pinned: dict[str, str] = {}
        failed: dict[str, AdapterHubError] = {}
        for ref in checked.refs:
            if before.get(ref) == "" or (ref not in before and asker.is_base(ref)):
                pinned[ref] = ""
                continue
            try:
                pinned[ref] = asker.load(before.get(ref, ref))
            except AdapterHubError as error:
                if not skip_bad or ends_all(error):
                    with at_line(path, checked, ref):
                        raise
                failed[ref] = error
        return cls(pinned, failed)

    def pin(self, question: Question) -> Question:
        """The same question with its adapters pinned. Raises InvalidInputError for the base in a blend."""
        for ref, _ in question.blend:
            if not self.pinned[ref]:
                raise InvalidInputError(f"blend: {ref!r} is the base, which is in every blend", field="blend")
        return replace(
            question,
            adapter=self.pinned[question.adapter] if question.adapter else "",
            blend=tuple((self.pinned[ref], weight) for ref, weight in question.blend),
        )

    def check(self, given: Input, first: int, asker: Asker) -> None:
        """Raises InvalidInputError for the first of the requests from `first` on that would be refused."""
        for entry in given.entries(first):  # no bad one is among them: the file was checked
            try:
                asker.check(self.pin(entry.question))
            except InvalidInputError as error:
                raise InvalidInputError(f"{given.path}: line {entry.number}: {error}", field=error.field) from None


def ends_all(error: AdapterHubError) -> bool:
    """Whether nobody answers any more, and not this one question alone."""
    return isinstance(error, UnavailableError | AuthError) and not isinstance(error, ForbiddenError)


@contextmanager
def at_line(path: Path, checked: Checked, ref: str) -> Iterator[None]:
    """Errors about an adapter name the first line that names it."""
    try:
        yield
    except AdapterHubError as error:
        error.args = (f"{path}: line {checked.refs[ref]}: adapter: {error}",)
        raise
