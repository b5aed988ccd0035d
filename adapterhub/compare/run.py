"""One comparison."""

from __future__ import annotations

import hashlib
from typing import Any

from adapterhub.adapter import Adapter
from adapterhub.compare.changes import changes
from adapterhub.compare.difference import Difference
from adapterhub.compare.norms import site_norms


def compare(a: Adapter, b: Adapter) -> Difference:
    """What of `b` is not as it is in `a`. No base is needed. Raises CorruptAdapterError for values not finite."""
    files = changes(_digests(a), _digests(b))
    return Difference(
        equal=not files,
        config=changes(a.config, b.config),
        provenance=changes(_record(a), _record(b)),
        files=files,
        sites=site_norms(a, b),
    )


def _record(adapter: Adapter) -> dict[str, Any]:
    return adapter.provenance.model_dump() if adapter.provenance else {}


def _digests(adapter: Adapter) -> dict[str, str]:
    found = {}
    for name, path in adapter.files.items():
        with path.open("rb") as file:
            found[name] = f"sha256:{hashlib.file_digest(file, 'sha256').hexdigest()}"
    return found
