"""What the pool knows of one adapter."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Protocol

from adapterhub.engine.blend import Servable
from adapterhub.engine.resident_adapter import ResidentAdapter
from adapterhub.engine.stats import AdapterStatus, Tier
from adapterhub.errors import AdapterHubError


class Waiter(Protocol):
    """Whoever needs an adapter. Called on any thread, with the pool locked: it only passes the news on."""

    def ready(self, adapter: ResidentAdapter) -> None:
        """It is resident and held for this waiter until released."""

    def failed(self, error: AdapterHubError) -> None:
        """It will not come."""


@dataclass(eq=False)
class AdapterEntry:
    """One known adapter; the pool fills all but the first field."""

    adapter: Servable
    waiters: list[Waiter] = field(default_factory=list)
    awaited: bool = False
    """Its load is asked for or under way, or it waits for room."""
    resident: ResidentAdapter | None = None
    pins: int = 0
    needs: int = 0
    """Bytes of it when it is resident; 0 before it ever was."""
    failure: AdapterHubError | None = None
    failed_at: float = 0.0
    """On the monotonic clock, in seconds."""

    @property
    def room(self) -> int:
        """Bytes it will take; those of its file before it ever was resident."""
        return self.needs or self.adapter.nbytes

    def status(self, tier: Tier) -> AdapterStatus:
        """Its line in a listing; `tier` is where it is when it is neither resident nor failed."""
        resident = self.resident
        if resident is not None:
            tier = "resident"
        elif self.failure is not None:
            tier = "failed"
        method = resident.method.name if resident else self.adapter.method_name
        nbytes = resident.nbytes if resident else self.adapter.nbytes
        running = resident.running if resident else 0
        return AdapterStatus(self.adapter.digest, method, nbytes, running, tier, self.pins > 0, self.failure)
