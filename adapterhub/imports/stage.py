"""Copying single files out of a folder nobody vouches for.

Each is opened once, as a plain file or not at all, and what is checked later is the copy: nothing
that happens to the folder meanwhile can change what is published.
"""

from __future__ import annotations

import errno
import os
import shutil
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from adapterhub.adapter import CARD_FILE, CONFIG_FILE, MAX_JSON_BYTES, PROVENANCE_FILE
from adapterhub.errors import CorruptAdapterError, IntegrityError, InvalidInputError

BOUNDED = (CARD_FILE, CONFIG_FILE, PROVENANCE_FILE)
"""Files of at most MAX_JSON_BYTES; tensors have no bound but what their header says."""


def stage(source: Path, into: Path) -> bool:
    """Copy the plain file `source` into the folder `into`; False when there is none.

    Raises CorruptAdapterError for what is no plain file, a link included, or is too long, and OSError.
    """
    try:
        # A pipe that nobody writes to would otherwise be waited for.
        descriptor = os.open(source, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
    except FileNotFoundError:
        return False
    except OSError as error:
        if error.errno == errno.ELOOP:
            raise CorruptAdapterError(f"{source}: a link; import a folder of plain files (cp -rL makes one)") from None
        if error.errno == errno.ENXIO:  # a socket
            raise CorruptAdapterError(f"{source}: not a plain file") from None
        raise
    try:
        status = os.fstat(descriptor)
        if not stat.S_ISREG(status.st_mode):
            raise CorruptAdapterError(f"{source}: not a plain file")
        if source.name in BOUNDED and status.st_size > MAX_JSON_BYTES:
            raise CorruptAdapterError(f"{source}: longer than {MAX_JSON_BYTES} bytes")
        with os.fdopen(descriptor, "rb", closefd=False) as file, (into / source.name).open("wb") as copy:
            shutil.copyfileobj(file, copy)
    finally:
        os.close(descriptor)
    return True


@contextmanager
def reading(source: Path, copied: Path | None = None) -> Iterator[None]:
    """Refusals name the file in `source`, not its copy; what the system does not let be read is InvalidInputError."""
    try:
        yield
    except IntegrityError as error:
        raise type(error)(str(error).replace(str(copied or source), str(source))) from None
    except OSError as error:
        raise InvalidInputError(f"{error.filename or source}: {error.strerror or error}", field="folder") from None
