"""What a batch began with, in a file beside its output: so that it goes on with the same, or not at all."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from adapterhub.config import Config
from adapterhub.errors import ConfigError, ConflictError
from adapterhub.json_object import load_object
from adapterhub.store.durable import write_durably

ANEW = "begin anew with --overwrite, or name another output"


class BatchRecord(Config):
    """Written once, before the first result; it stays, as it says which digests answered."""

    format_version: Literal[1] = 1
    input_sha256: str
    created: int
    """Seconds since 1970 that results tell: when the input was last changed."""
    base: str
    """Id of the base."""
    runtime_digest: str
    """Of the base as it was held."""
    adapters: dict[str, str]
    """As the lines name them -> `name:tag@sha256:...`; empty for the bare base."""

    @classmethod
    def read(cls, output: Path) -> BatchRecord | None:
        """The record of this output, if there is one. Raises ConflictError when it cannot be read."""
        path = record_path(output)
        try:
            return cls.load(load_object(path.read_bytes()), where=str(path))
        except FileNotFoundError:
            return None
        except (ValueError, OSError, ConfigError) as error:
            raise ConflictError(f"{path}: {error}; {ANEW}") from None

    def write(self, output: Path) -> None:
        """Beside `output`. Raises UnavailableError when the disk does not take it."""
        write_durably(record_path(output), self.model_dump_json(indent=2).encode() + b"\n", mode=0o644)


def record_path(output: Path) -> Path:
    """`out.jsonl` -> `out.jsonl.batch.json`."""
    return output.with_name(f"{output.name}.batch.json")
