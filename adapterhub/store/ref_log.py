"""The log of one tag: `log/<namespace or _>/<name>/<tag>`, JSON lines, oldest first. It outlives the tag.

The line of a move is on disk before the ref is replaced. What a crash leaves: a torn last line, which is
no move, or a whole line whose move did not happen, which `settled` tells from what the ref holds. Both
go when the next line is written.
"""

from __future__ import annotations

from pathlib import Path

from pydantic import ValidationError

from adapterhub.errors import CorruptAdapterError
from adapterhub.store.durable import append_durably, write_durably
from adapterhub.store.plain import plain_size
from adapterhub.store.ref_move import RefMove

MODE = 0o644


def read_log(path: Path) -> tuple[RefMove, ...]:
    """The whole lines of a log; none when there is no log. Raises CorruptAdapterError for one that is not a move."""
    if plain_size(path) is None:
        return ()
    *lines, torn = path.read_bytes().split(b"\n")
    moves = []
    for number, line in enumerate(lines, start=1):
        try:
            moves.append(RefMove.model_validate_json(line))
        except ValidationError:
            if number == len(lines) and not torn:
                break  # the tail of a file whose length reached the disk before its content
            raise CorruptAdapterError(f"{path}: line {number} is not a move of a tag; take it out by hand") from None
    return tuple(moves)


def write_log(path: Path, moves: tuple[RefMove, ...]) -> None:
    """Make `moves` the log: by adding the last one where the file holds all others and nothing else."""
    lines = [f"{move.model_dump_json()}\n".encode() for move in moves]
    before = b"".join(lines[:-1])
    if before and path.is_file() and path.read_bytes() == before:
        append_durably(path, lines[-1])
    else:
        write_durably(path, before + lines[-1], mode=MODE)
