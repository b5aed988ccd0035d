"""What of an error's text a server may tell: neither where its files lie, nor what else it has."""

from __future__ import annotations

import re

from adapterhub.errors import AdapterHubError, NotFoundError

_FOLDERS = re.compile(r"(?<![\w:/.])/(?:[^\s:;,/'\"()]+/)+")
"""The folders in front of a file's name; not what follows a host, as in a URL."""
_OTHERS = re.compile(r"; did you mean .*| \(known: .*")


def public_text(error: AdapterHubError) -> str:
    """The error's text without folders; of what was not found, also without the names of what is there."""
    text = without_folders(str(error))
    return _OTHERS.sub("", text) if isinstance(error, NotFoundError) else text


def without_folders(text: str) -> str:
    """`text` with every absolute path cut to its last part."""
    return _FOLDERS.sub("", text)
