"""Training data: files read into records, strictly. Needs no torch."""

from adapterhub.data.dataset import Dataset, prompt_of, read_dataset

__all__ = ["Dataset", "prompt_of", "read_dataset"]
