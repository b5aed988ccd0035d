"""All checks, each on its own: one that fails is a finding."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping

from adapterhub.doctor.finding import Finding
from adapterhub.doctor.folders import cache, store
from adapterhub.doctor.hub import login
from adapterhub.doctor.machine import devices, kernels, versions
from adapterhub.doctor.parts import plugins
from adapterhub.errors import AdapterHubError

Check = Callable[[], Iterable[Finding]]

CHECKS: dict[str, Check] = {
    "versions": versions,
    "devices": devices,
    "kernels": kernels,
    "cache": cache,
    "store": store,
    "plugins": plugins,
    "hub": login,
}
"""Area -> what looks at it."""


def examine(more: Mapping[str, Check]) -> tuple[Finding, ...]:
    """Everything that is found, of `more` areas first."""
    return tuple(finding for area, check in {**more, **CHECKS}.items() for finding in _tried(area, check))


def _tried(area: str, check: Check) -> Iterator[Finding]:
    try:
        yield from check()
    except AdapterHubError as error:
        yield Finding(area, area, "", "broken", str(error))
    except Exception as error:  # noqa: BLE001  a check may meet anything, from a library that does not import on
        yield Finding(area, area, "", "broken", f"{type(error).__name__}: {error}")
