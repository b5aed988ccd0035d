"""A manifest: which files an adapter consists of. Its digest is the adapter's identity.

Nothing in it depends on when or under which name it was published: the same files give the same
digest everywhere.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from typing import Annotated, Self

from pydantic import Field, field_validator

from adapterhub.adapter import ADAPTER_FILES
from adapterhub.config import Config
from adapterhub.errors import ConfigError, CorruptAdapterError, UnsupportedAdapterError

FORMAT_VERSION = 1


class Blob(Config):
    """One file by its content."""

    digest: Annotated[str, Field(pattern="^sha256:[0-9a-f]{64}$")]
    size: Annotated[int, Field(ge=0)]
    """Bytes."""

    @classmethod
    def of(cls, content: bytes) -> Self:
        return cls(digest=f"sha256:{hashlib.sha256(content).hexdigest()}", size=len(content))


class Manifest(Config):
    """The files of one adapter."""

    format_version: int = FORMAT_VERSION
    files: dict[str, Blob]
    """File name -> its content."""

    @field_validator("files")
    @classmethod
    def _known_files(cls, files: dict[str, Blob]) -> dict[str, Blob]:
        if unknown := sorted(files.keys() - set(ADAPTER_FILES)):
            raise ValueError(f"{unknown[0]!r} is not a file of an adapter")
        return files

    @classmethod
    def of(cls, contents: Mapping[str, bytes]) -> Self:
        """The manifest of files given by name."""
        return cls(files={name: Blob.of(content) for name, content in contents.items()})

    @classmethod
    def from_bytes(cls, content: bytes, *, where: str) -> Self:
        """Raises UnsupportedAdapterError for a newer format, CorruptAdapterError when it is not a manifest."""
        try:
            values = json.loads(content)
            version = values.pop("format_version")
        except (ValueError, RecursionError, AttributeError, TypeError, KeyError):
            raise CorruptAdapterError(f"{where}: not the manifest of an adapter") from None
        if version != FORMAT_VERSION:
            raise UnsupportedAdapterError(
                f"{where}: manifest format {version!r}; this version reads up to {FORMAT_VERSION}: upgrade adapterhub"
            )
        try:
            return cls.load(values, where=where)
        except ConfigError as error:
            raise CorruptAdapterError(str(error)) from None

    def to_bytes(self) -> bytes:
        """The one spelling of this manifest; its digest is taken over these bytes."""
        return json.dumps(self.model_dump(), sort_keys=True, separators=(",", ":")).encode()
