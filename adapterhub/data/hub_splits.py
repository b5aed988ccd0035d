"""Which files of a data set on the Hub are a split.

`datasets` decides it, from the README's configs and the files' names alone: it is given empty files of
these names. No code of a data set is run.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from tempfile import TemporaryDirectory
from typing import Any

from adapterhub.data.hub_ref import HubRef
from adapterhub.errors import NotFoundError, UnavailableError

SUFFIXES = (".csv", ".json", ".jsonl", ".ndjson", ".parquet")
MAX_TEXTS = 100_000
"""Names and patterns in a README's configs; YAML's references make few lines into more than a machine can read."""


def split_files(ref: HubRef, at: str, names: list[str], readme: str) -> tuple[str, list[str]]:
    """The config that is meant, and the names of the split's files among `names`.

    Raises NotFoundError listing the configs or splits there are.
    """
    with TemporaryDirectory(prefix="adapterhub-data-") as folder:
        root = Path(folder)
        for name in names:
            if PurePosixPath(name).is_absolute() or ".." in PurePosixPath(name).parts:
                raise UnavailableError(f"{at}: lists {name[:80]!r}, which is no path in a repo")
            (root / "repo" / name).parent.mkdir(parents=True, exist_ok=True)
            (root / "repo" / name).touch()
        if not names:
            raise NotFoundError(f"{at}: no files of data (accepted: {', '.join(SUFFIXES)})", resource=at)
        (root / "repo" / "README.md").write_text(_configs(readme, at))
        config, by_split = _by_split(root, ref, at)
        if ref.split not in by_split:
            there = ", ".join(sorted(by_split)) or "none"
            raise NotFoundError(f"{at}: no split {ref.split!r} in config {config!r} (known: {there})", resource=at)
        inside = (root / "repo").resolve()
        return config, [Path(path).resolve().relative_to(inside).as_posix() for path in by_split[ref.split]]


def _by_split(root: Path, ref: HubRef, at: str) -> tuple[str, dict[str, list[str]]]:
    from datasets import load_dataset_builder
    from datasets.data_files import EmptyDatasetError

    try:
        builder = load_dataset_builder(str(root / "repo"), name=ref.config or None, cache_dir=str(root / "cache"))
    except (ValueError, FileNotFoundError, EmptyDatasetError) as error:
        reason = " ".join(str(error).partition("Example of usage")[0].split()).replace(str(root / "repo"), "the repo")
        raise NotFoundError(f"{at}: {reason[:300]}", resource=at) from None
    files = builder.config.data_files or {}
    return str(builder.config.name), {str(split): [str(path) for path in paths] for split, paths in files.items()}


def _configs(readme: str, at: str) -> str:
    """A README with the configs of the one given and nothing else. Raises NotFoundError for files elsewhere."""
    import yaml

    match = re.match(r"---\s*\n(.*?)\n---\s*(\n|$)", readme, flags=re.DOTALL)
    try:
        values = yaml.safe_load(match[1]) if match else None
    except (yaml.YAMLError, RecursionError):
        raise NotFoundError(f"{at}: its README.md has a head that is not YAML", resource=at) from None
    configs = values.get("configs") if isinstance(values, dict) else None
    if configs is None:
        return ""
    for count, text in enumerate(_texts(configs)):
        if count == MAX_TEXTS:
            raise NotFoundError(f"{at}: its README.md has more than {MAX_TEXTS} entries of configs", resource=at)
        if "://" in text or text.startswith(("/", "~")) or ".." in text:
            raise NotFoundError(f"{at}: its README.md names files elsewhere: {text[:80]!r}", resource=at)
    return f"---\n{yaml.safe_dump({'configs': configs})}---\n"


def _texts(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict | list):
        for each in value.values() if isinstance(value, dict) else value:
            yield from _texts(each)
