"""The user's cache folder: what can be made again and need not be kept."""

from __future__ import annotations

from pathlib import Path

from adapterhub.settings import effective


def cache_folder() -> Path:
    """The folder that the settings name, or the user's own; it need not exist. Raises ConfigError."""
    return effective().settings.cache
