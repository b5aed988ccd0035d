"""What a comparison found."""

from __future__ import annotations

from typing import Literal, NamedTuple

from adapterhub.compare.changes import Change


class SiteNorms(NamedTuple):
    """Frobenius norms at one place of the base, and how far two adapters are apart there."""

    site: str
    """The module's name; empty for tensors that belong to none."""
    of: Literal["update", "tensors"]
    """Of the update s B A that a low-rank pair makes, or of all the site's tensors as they are on disk."""
    a: float
    """0 for an adapter that does not act there."""
    b: float
    difference: float | None
    """The norm of the difference; None where tensors are of different names or shapes."""

    @property
    def change(self) -> float | None:
        """The difference as a share of the larger norm, 0 to 2; None where there is none."""
        if self.difference is None:
            return None
        return self.difference / largest if (largest := max(self.a, self.b)) else 0.0


class Difference(NamedTuple):
    """Everything that is not the same in two adapters."""

    equal: bool
    """Every file is the same to the byte."""
    config: tuple[Change, ...]
    provenance: tuple[Change, ...]
    files: tuple[Change, ...]
    """By their sha256."""
    sites: tuple[SiteNorms, ...]
    """All of them, those that cannot be compared first, then by falling change."""
