"""Looking into a folder nobody vouches for: plain files, each opened once, and no more of anything than a limit."""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import islice
from pathlib import Path
from typing import BinaryIO

from adapterhub.errors import CorruptAdapterError, IntegrityError, InvalidInputError

MAX_LISTED_FILES = 10_000
MAX_MESSAGE = 4000
"""Characters of a refusal, which may quote what the folder's files say."""
_CHUNK = 1 << 20


@contextmanager
def opened(path: Path) -> Iterator[BinaryIO | None]:
    """The plain file, open to be read; None when there is none.

    Raises CorruptAdapterError for what is no plain file, a link included, and OSError.
    """
    try:
        # A pipe that nobody writes to would otherwise be waited for.
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
    except FileNotFoundError:
        yield None
        return
    except OSError as error:
        if error.errno == errno.ELOOP:
            raise CorruptAdapterError(f"{path}: a link; import a folder of plain files (cp -rL makes one)") from None
        if error.errno == errno.ENXIO:  # a socket
            raise CorruptAdapterError(f"{path}: not a plain file") from None
        raise
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise CorruptAdapterError(f"{path}: not a plain file")
    with os.fdopen(descriptor, "rb") as file:
        yield file


def pieces(file: BinaryIO, path: Path, limit: int) -> Iterator[bytes]:
    """What the file holds, up to `limit` bytes, whatever its size was said to be. Raises CorruptAdapterError beyond."""
    left = limit
    while piece := file.read(min(_CHUNK, left + 1)):
        if len(piece) > left:
            raise CorruptAdapterError(f"{path}: longer than {limit} bytes")
        left -= len(piece)
        yield piece


def listing(folder: Path) -> list[os.DirEntry[str]]:
    """What is in the folder, by name. Raises InvalidInputError for one with too many files to look at, and OSError."""
    with os.scandir(folder) as entries:
        found = list(islice(entries, MAX_LISTED_FILES + 1))
    if len(found) > MAX_LISTED_FILES:
        raise InvalidInputError(
            f"{folder}: over {MAX_LISTED_FILES} files; import the folder of the adapter alone", field="folder"
        )
    return sorted(found, key=lambda entry: entry.name)


@contextmanager
def reading(source: Path, copied: Path | None = None) -> Iterator[None]:
    """Refusals name the file in `source`, not its copy, and are not endless.

    What the system does not let be read is InvalidInputError.
    """
    try:
        yield
    except IntegrityError as error:
        message = str(error).replace(str(copied or source), str(source))
        if str(source) not in message:
            message = f"{source}: {message}"
        more = f"... ({len(message) - MAX_MESSAGE} characters more)" if len(message) > MAX_MESSAGE else ""
        raise type(error)(message[:MAX_MESSAGE] + more) from None
    except OSError as error:
        raise InvalidInputError(f"{error.filename or source}: {error.strerror or error}", field="folder") from None
