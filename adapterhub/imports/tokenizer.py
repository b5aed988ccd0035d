"""A tokenizer or chat template that lies beside an adapter.

It is never taken: whoever serves the adapter uses the base's, so one that differs is worth a warning.

What is not covered: JSON that differs in white space alone, which is mostly its layout.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from adapterhub.imports.tokenizer_files import (
    FILES,
    OLD_TEMPLATE_FILE,
    SETTINGS_FILE,
    TEMPLATE_FILE,
    TEMPLATES_FOLDER,
    TokenizerFiles,
)

SETTINGS = ("add_bos_token", "add_eos_token", "bos_token", "eos_token")
"""Those that change a prompt's tokens, or where an answer ends."""


def brought(folder: Path) -> list[str]:
    """The tokenizer's files in a folder."""
    there = TokenizerFiles(folder)
    names = (*FILES, SETTINGS_FILE, TEMPLATE_FILE, OLD_TEMPLATE_FILE, TEMPLATES_FOLDER)
    return [name for name in names if name in there]


def differing(folder: Path, base: Path) -> list[str]:
    """What of the tokenizer and chat templates in `folder` is not as in `base`; each starts with its file.

    What cannot be read, such as a link or a file that is too long, counts as differing. Raises OSError.
    """
    theirs, ours = TokenizerFiles(folder), TokenizerFiles(base, links=True)
    names = [name for name in FILES if name in theirs]
    # Releases of transformers write different sets of files for one tokenizer.
    common = [name for name in names if name in ours] or names
    told = [name for name in common if not _same(name, theirs, ours)]
    told += _settings(theirs, ours)
    for name, (file, template) in theirs.templates().items():
        if template is None or template != ours.templates().get(name, (file, None))[1]:
            which = "" if name == "default" else f" {name!r}"
            told.append(f"{file}: its chat_template{which}")
    return [str(folder / each) for each in told]


def _same(name: str, theirs: TokenizerFiles, ours: TokenizerFiles) -> bool:
    if (content := theirs.content(name)) is None:
        return False
    if content == ours.content(name):
        return True
    # Perhaps in another order, or with other escapes.
    return name.endswith(".json") and (values := theirs.settings(name)) is not None and values == ours.settings(name)


def _settings(theirs: TokenizerFiles, ours: TokenizerFiles) -> list[str]:
    """The settings that differ from the base's, where there are any."""
    given, used = theirs.settings(), ours.settings() or {}
    if given is None:
        return [SETTINGS_FILE]
    both = {key: (_value(given, key), _value(used, key)) for key in SETTINGS}
    return [f"{SETTINGS_FILE}: its {key}" for key, (has, needs) in both.items() if has is not None and has != needs]


def _value(settings: dict[str, Any], key: str) -> Any:
    value = settings.get(key)
    return value.get("content") if isinstance(value, dict) else value  # a token with how it is matched
