"""The plugins."""

from __future__ import annotations

from collections.abc import Iterator

from adapterhub.doctor.finding import Finding
from adapterhub.plugins import installed_methods


def plugins() -> Iterator[Finding]:
    """How each plugin of methods fared, and which are switched off."""
    methods = installed_methods()
    for plugin in methods.plugins:
        origin = f"{plugin.distribution} {plugin.version}".strip()
        if plugin.error:
            yield Finding("plugins", plugin.name, origin, "broken", plugin.error)
    yield Finding("plugins", "used", str(len(methods.plugins)))
    yield Finding("plugins", "methods", str(len(methods.by_name) + len(methods.presets)))
    if methods.switched_off:
        yield Finding("plugins", f"off by {methods.switched_off_by}", ", ".join(methods.switched_off))
