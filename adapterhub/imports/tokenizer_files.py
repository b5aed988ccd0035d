"""The files of a tokenizer in one folder, and what they say; read within limits, as nobody vouches for them."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path
from typing import Any

from adapterhub.errors import CorruptAdapterError
from adapterhub.imports.plain import listing, opened, pieces
from adapterhub.json_object import load_object

FILES = (
    "added_tokens.json",
    "merges.txt",
    "special_tokens_map.json",
    "spiece.model",
    "tokenizer.json",
    "tokenizer.model",
    "vocab.json",
    "vocab.txt",
)
SETTINGS_FILE = "tokenizer_config.json"
TEMPLATE_FILE = "chat_template.jinja"
OLD_TEMPLATE_FILE = "chat_template.json"
TEMPLATES_FOLDER = "additional_chat_templates"
MAX_BYTES = 64 << 20
MAX_PARSED_BYTES = 2 << 20
MAX_TEMPLATES = 32
WHITE_SPACE = b" \t\r\n"


class TokenizerFiles:
    """What lies in `folder`; with `links`, also behind links, as in the Hub's cache."""

    def __init__(self, folder: Path, *, links: bool = False) -> None:
        self._folder = folder
        self._links = links

    def __contains__(self, name: str) -> bool:
        return os.path.lexists(self._folder / name)

    def content(self, name: str) -> str | None:
        """A digest of what the file holds, JSON without white space; None when it cannot be read within the limits."""
        hashed = hashlib.sha256()
        dropped = WHITE_SPACE if name.endswith(".json") else b""
        path = self._path(name)
        try:
            with opened(path) as file:
                if file is None:
                    return None
                for piece in pieces(file, path, MAX_BYTES):
                    hashed.update(piece.translate(None, dropped))
        except CorruptAdapterError:
            return None
        return hashed.hexdigest()

    def settings(self, name: str = SETTINGS_FILE) -> dict[str, Any] | None:
        """A JSON file; empty when there is none, None when it cannot be read within the limits."""
        try:
            return load_object(self._read(name) or b"{}")
        except (CorruptAdapterError, ValueError):
            return None

    def templates(self) -> dict[str, tuple[str, str | None]]:
        """Chat templates by name, with the file each stands in; None for one that cannot be read within the limits.

        A file of its own counts more than the settings; the first one is called "default".
        """
        found: dict[str, tuple[str, str | None]] = {}
        for name in (SETTINGS_FILE, OLD_TEMPLATE_FILE):
            given = (self.settings(name) or {}).get("chat_template")
            if isinstance(given, str):
                given = [{"name": "default", "template": given}]
            for each in given if isinstance(given, list) else ():
                if isinstance(each, dict):
                    found[str(each.get("name"))] = (name, str(each.get("template")))
        if self._path(TEMPLATES_FOLDER).is_dir():
            for entry in listing(self._path(TEMPLATES_FOLDER))[:MAX_TEMPLATES]:
                name = f"{TEMPLATES_FOLDER}/{entry.name}"
                found[entry.name.removesuffix(".jinja")] = (name, self._text(name))
        if TEMPLATE_FILE in self:
            found["default"] = (TEMPLATE_FILE, self._text(TEMPLATE_FILE))
        return found

    def _text(self, name: str) -> str | None:
        try:
            return (self._read(name) or b"").decode(errors="replace")
        except CorruptAdapterError:
            return None

    def _read(self, name: str) -> bytes | None:
        path = self._path(name)
        with opened(path) as file:
            return None if file is None else b"".join(pieces(file, path, MAX_PARSED_BYTES))

    def _path(self, name: str) -> Path:
        path = self._folder / name
        return path.resolve() if self._links else path
