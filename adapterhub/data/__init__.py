"""Training data: files and data sets of the Hub read into records, strictly, and checked. Needs no torch."""

from adapterhub.data.check import check_data, check_records
from adapterhub.data.dataset import Dataset, prompt_of
from adapterhub.data.finding import Finding
from adapterhub.data.kinds import wrong_kinds
from adapterhub.data.reading import Reading, read_all, read_dataset
from adapterhub.data.report import DataReport

__all__ = [
    "DataReport",
    "Dataset",
    "Finding",
    "Reading",
    "check_data",
    "check_records",
    "prompt_of",
    "read_all",
    "read_dataset",
    "wrong_kinds",
]
