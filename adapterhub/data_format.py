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
    keys: ClassVar[tuple[str, ...]]
    """All keys it reads. Others in a file are columns that nobody uses, of which a check tells; one that is nearly
    a key that is missing is an error."""

    @abstractmethod
    def recognizes(self, values: Mapping[str, Any]) -> bool:
        """Whether an object is meant to be of this format, by its keys; it may still be wrong.

        Of several formats that recognize an object the one that reads most of its keys is taken, else the first.
        """

    @abstractmethod
    def read(self, values: Mapping[str, Any], line: int) -> Record:
        """The record that an object is. Raises ValueError saying what is wrong with it, and what would be accepted.

        In a file of columns an empty cell may be None, or empty text in CSV; lists may come as JSON in text.
        """
