"""A tokenizer or chat template that lies beside an adapter.

It is never taken: whoever serves the adapter uses the base's, so one that differs is worth a warning.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

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
"""Where there is none, the template may stand in the settings."""
MAX_BYTES = 64 << 20
"""A longer file is not compared, and counts as one that differs."""


def brought(folder: Path) -> list[str]:
    """The tokenizer's files in a folder."""
    return [name for name in (*FILES, SETTINGS_FILE, TEMPLATE_FILE) if (folder / name).is_file()]


def differing(folder: Path, base: Path) -> list[str]:
    """What of the tokenizer and chat template in `folder` is not as in `base`; each starts with its file."""
    names = [name for name in FILES if (folder / name).is_file()]
    # Releases of transformers write different sets of files for one tokenizer.
    common = [name for name in names if (base / name).is_file()] or names
    told = [str(folder / name) for name in common if _content(folder / name) != _content(base / name)]
    for key in ("eos_token", "chat_template"):
        file, theirs = _setting(folder, key)
        if theirs is not None and theirs != _setting(base, key)[1]:
            told.append(f"{file}: its {key}")
    return told


def _content(path: Path) -> Any:
    """A file's JSON, however it is laid out, or its bytes; its path when it is missing or too long."""
    if not path.is_file() or path.stat().st_size > MAX_BYTES:
        return path
    content = path.read_bytes()
    try:
        return json.loads(content)
    except (ValueError, RecursionError):
        return content


def _setting(folder: Path, key: str) -> tuple[Path, Any]:
    """A setting of the tokenizer with the file it stands in; None when it has none."""
    if key == "chat_template" and (folder / TEMPLATE_FILE).is_file():
        return folder / TEMPLATE_FILE, _content(folder / TEMPLATE_FILE)
    settings = _content(folder / SETTINGS_FILE)
    value = settings.get(key) if isinstance(settings, dict) else None
    if isinstance(value, dict):  # a token with how it is matched
        value = value.get("content")
    return folder / SETTINGS_FILE, value.encode() if key == "chat_template" and isinstance(value, str) else value
