"""Adapters on disk, kept by content."""

from adapterhub.store.ref import AdapterRef
from adapterhub.store.ref_move import RefMove
from adapterhub.store.store import Store
from adapterhub.store.stored_adapter import StoredAdapter

__all__ = ["AdapterRef", "RefMove", "Store", "StoredAdapter"]
