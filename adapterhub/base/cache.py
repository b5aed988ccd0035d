"""The user's cache folder: what can be made again and need not be kept."""

from __future__ import annotations

import os
from pathlib import Path

import platformdirs

CACHE_VARIABLE = "ADAPTERHUB_CACHE"
"""Environment variable that puts the cache elsewhere."""


def cache_folder() -> Path:
    """The cache folder; it need not exist yet."""
    override = os.environ.get(CACHE_VARIABLE)
    return Path(override) if override else platformdirs.user_cache_path("adapterhub")
