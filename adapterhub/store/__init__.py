"""Adapters on disk, kept by content."""

from adapterhub.store.ref import AdapterRef
from adapterhub.store.ref_move import RefMove
from adapterhub.store.store import Store
from adapterhub.store.stored_adapter import StoredAdapter
from adapterhub.store.sweep import GRACE, KEEP_HISTORY, Swept
from adapterhub.store.verify import Damage, Verified

__all__ = [
    "GRACE",
    "KEEP_HISTORY",
    "AdapterRef",
    "Damage",
    "RefMove",
    "Store",
    "StoredAdapter",
    "Swept",
    "Verified",
]
