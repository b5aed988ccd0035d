"""API keys: a file of their hashes, and what each may do.

A key is `ahk_<id>_<secret>`; the file holds the id, the SHA-256 of the secret and what the key may do. The secret is
256 random bits, which no list of likely words holds, so one round of a plain hash is enough. It is shown once, when
the key is made.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import re
import secrets
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Literal, get_args

from pydantic import Field

from adapterhub.config import Config
from adapterhub.errors import AuthError, ConfigError, ConflictError, NotFoundError, did_you_mean
from adapterhub.store.durable import write_durably
from adapterhub_server.caller import Caller, Scope
from adapterhub_server.changed_file import changing
from adapterhub_server.watched_file import WatchedFile

SCOPES = get_args(Scope)
MODE = 0o600
"""The file's permissions: hashes of secrets are nobody else's business."""

_KEY = re.compile(r"ahk_([0-9a-f]{12})_([A-Za-z0-9_-]{43})")
_NO_SECRET = "0" * 64


class Key(Config):
    """One key, without its secret."""

    id: str = Field(pattern=r"^[0-9a-f]{12}$")
    sha256: str = Field(pattern=r"^[0-9a-f]{64}$")
    """Of the secret."""
    name: str = Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._@-]{0,63}$")
    """For people; unique."""
    tenant: str = Field(pattern=r"^[a-z0-9][a-z0-9._-]{0,63}$")
    """Tenants share no computed rows, and take turns."""
    scopes: tuple[Scope, ...] = Field(min_length=1)
    """`infer`: generate and look; `manage`: load, unload, route."""
    adapters: tuple[Annotated[str, Field(min_length=1, max_length=256)], ...] = Field(default=(), max_length=1024)
    """Patterns of the adapters it may use (`team/*`, `hf:org/*`, `*`); none by default. Every key may use the base."""
    created: str = ""
    """UTC time, ISO 8601."""

    @property
    def caller(self) -> Caller:
        return Caller(self.id, self.tenant, frozenset(self.scopes), self.adapters)


class KeyFile(Config):
    """What the file holds."""

    format_version: Literal[1] = 1
    keys: tuple[Key, ...] = ()


class Keys:
    """Owns the keys in one file. A change, also by another process, holds from the next call on. Any thread."""

    def __init__(self, path: Path) -> None:
        """Raises ConfigError when the file is there and is not one of keys, and UnavailableError."""
        self._file = WatchedFile(path, lambda content: _parse(content, path))

    def caller(self, authorization: str) -> Caller:
        """Who sends this `authorization`, `Bearer ahk_...`. Raises AuthError, which tells nothing of what was wrong."""
        kind, _, key = authorization.partition(" ")
        found = _KEY.fullmatch(key.strip())
        known = self._file.value().get(found[1]) if found else None
        secret = hashlib.sha256(found[2].encode() if found else b"").hexdigest()
        # Compared also where there is nothing to compare, so that the time tells nothing either.
        right = hmac.compare_digest(secret, known.sha256 if known else _NO_SECRET)
        if kind.lower() != "bearer" or known is None or not right:
            raise AuthError("the API key is not known here (accepted: metadata 'authorization: Bearer ahk_...')")
        return known.caller

    def list(self) -> list[Key]:
        """Every key, by name."""
        return sorted(self._file.value().values(), key=lambda key: key.name)

    def create(self, name: str, *, tenant: str, scopes: Iterable[str], adapters: Iterable[str]) -> str:
        """Make a key; the whole of it, which is nowhere else.

        Raises ConfigError for what is not accepted, ConflictError for a name that is taken, and UnavailableError.
        """
        secret = secrets.token_urlsafe(32)
        values = {
            "id": secrets.token_hex(6),
            "sha256": hashlib.sha256(secret.encode()).hexdigest(),
            "name": name,
            "tenant": tenant,
            "scopes": tuple(scopes),
            "adapters": tuple(adapters),
            "created": datetime.now(UTC).isoformat(timespec="seconds"),
        }
        key = Key.load(values, where="key")
        with changing(self._file.path):
            keys = self._file.value()
            if any(other.name == name for other in keys.values()):
                raise ConflictError(f"key {name!r} is there already; revoke it first")
            self._write([*keys.values(), key])
        return f"ahk_{key.id}_{secret}"

    def revoke(self, name: str) -> None:
        """Raises NotFoundError naming what is near, and UnavailableError."""
        with changing(self._file.path):
            keys = self._file.value().values()
            left = [key for key in keys if key.name != name]
            if len(left) == len(keys):
                near = did_you_mean(name, [key.name for key in keys])
                raise NotFoundError(f"no key {name!r} in {self._file.path}{near}", resource=name)
            self._write(left)

    def _write(self, keys: Iterable[Key]) -> None:
        held = KeyFile(keys=tuple(sorted(keys, key=lambda key: key.name)))
        content = json.dumps(held.model_dump(), indent=2, sort_keys=True) + "\n"
        write_durably(self._file.path, content.encode(), mode=MODE)


def _parse(content: bytes, path: Path) -> Mapping[str, Key]:
    try:
        values = json.loads(content or b"{}")
    except (ValueError, RecursionError) as error:
        raise ConfigError(f"{path}: not JSON: {error}") from None
    if not isinstance(values, dict):
        raise ConfigError(f"{path}: not a JSON object")
    return {key.id: key for key in KeyFile.load(values, where=str(path)).keys}
