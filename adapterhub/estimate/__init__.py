"""What an adapter costs to train and to serve, from shapes alone.

Settings and results import without torch; `estimate` brings it.
"""

from typing import TYPE_CHECKING, Any

from adapterhub.estimate.config import EstimateConfig
from adapterhub.estimate.result import Estimate, Resident, Training

if TYPE_CHECKING:
    from adapterhub.estimate.run import estimate

__all__ = ["Estimate", "EstimateConfig", "Resident", "Training", "estimate"]


def __getattr__(name: str) -> Any:
    if name == "estimate":
        from adapterhub.estimate.run import estimate

        return estimate
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
