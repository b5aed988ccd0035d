"""What a plugin gives to read training data of another shape: a format. Needs no torch."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Any, ClassVar

from adapterhub.records import Record


class DataFormat(ABC):
    """Turns one object of a file into a record. Subclass, set the attributes, and give `recognizes` and `read`."""

    name: ClassVar[str]
    """What users type: `--format alpaca`."""
    shape: ClassVar[str]
    """How an object of it looks, for messages and the docs: `{"prompt": text, "completion": text}`."""

    @abstractmethod
    def recognizes(self, values: Mapping[str, Any]) -> bool:
        """Whether an object is meant to be of this format, by its keys; it may still be wrong."""

    @abstractmethod
    def read(self, values: Mapping[str, Any], line: int) -> Record:
        """The record that an object is. Raises ValueError saying what is wrong with it, and what would be accepted."""
