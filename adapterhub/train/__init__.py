"""Training adapters: from examples and a frozen base to a checked adapter folder."""

from adapterhub.train.config import TrainConfig
from adapterhub.train.dataset import Dataset, Pair, read_dataset
from adapterhub.train.result import Progress, TrainResult, TrainStep
from adapterhub.train.run import train

__all__ = ["Dataset", "Pair", "Progress", "TrainConfig", "TrainResult", "TrainStep", "read_dataset", "train"]
