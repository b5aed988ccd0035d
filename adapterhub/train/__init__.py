"""Training adapters: from examples and a frozen base to a checked adapter folder.

Settings import without torch; `train` brings it.
"""

from typing import TYPE_CHECKING, Any

from adapterhub.train.config import TrainConfig
from adapterhub.train.result import Progress, TrainResult, TrainStep

if TYPE_CHECKING:
    from adapterhub.train.run import train

__all__ = ["Progress", "TrainConfig", "TrainResult", "TrainStep", "train"]


def __getattr__(name: str) -> Any:
    if name == "train":
        from adapterhub.train.run import train

        return train
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
