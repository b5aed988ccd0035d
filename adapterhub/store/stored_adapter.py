"""One line of a listing: what can be said of a stored adapter from its headers."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Self

from adapterhub.adapter import Adapter
from adapterhub.store.ref import AdapterRef


@dataclass(frozen=True)
class StoredAdapter:
    """A tag of the store and what it holds; only `ref` and `error` are filled when it cannot be read."""

    ref: AdapterRef
    """Pinned to its digest."""
    method: str = ""
    """The method's name, or its `peft_type` in lower case when somebody else made it."""
    peft_type: str = ""
    base: str = ""
    """Name of the base it was trained on."""
    base_digest: str = ""
    """Digest of that base; empty when it was not recorded, and then the adapter is unverified."""
    num_parameters: int = 0
    nbytes: int = 0
    """Bytes of its tensors."""
    created: str = ""
    """UTC time, ISO 8601; empty when it was not recorded."""
    error: str = ""
    """Why it cannot be read."""

    @classmethod
    def of(cls, ref: AdapterRef, adapter: Adapter) -> Self:
        """What `adapter`'s headers and provenance say."""
        provenance, base = adapter.provenance, adapter.base
        return cls(
            ref,
            method=adapter.method_name,
            peft_type=adapter.peft_type,
            base=base.id if base else str(adapter.config.get("base_model_name_or_path") or ""),
            base_digest=base.digest if base else "",
            num_parameters=adapter.num_parameters,
            nbytes=adapter.nbytes,
            created=provenance.created if provenance else "",
        )
