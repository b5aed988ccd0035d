"""What came of an import."""

from __future__ import annotations

from typing import NamedTuple

from adapterhub.adapter import Adapter


class Imported(NamedTuple):
    """An adapter in a folder of ours, checked as far as that was possible."""

    adapter: Adapter
    method: str
    """The name of the method that serves it."""
    base: str
    """The base it was checked against, as BaseRecord's `id`; empty when there was none."""
    verified: bool
    """It records that base's digest; else it is unverified, also when every tensor fits."""
    warnings: tuple[str, ...]
    """What it brought and will not be used, by name."""
