"""A data set on the Hugging Face Hub: which of its files are a split, and these files here.

`hf:org/name[@revision][:[config/]split]`; the split is `train` when none is named. Which files make
which split is decided by `datasets`, from the README's configs and the files' names alone: it is
given empty files of these names. No code of a data set is run, and no file beside the split's is
fetched.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from glob import escape
from pathlib import Path, PurePosixPath
from tempfile import TemporaryDirectory
from typing import Any, NamedTuple, Self

from adapterhub.base_name import HUB_ID
from adapterhub.errors import AuthError, InvalidInputError, NotFoundError, UnavailableError

PREFIX = "hf:"
ACCEPTED = "hf:org/name[@revision][:[config/]split]"
SUFFIXES = (".csv", ".json", ".jsonl", ".ndjson", ".parquet")
_PART = r"[A-Za-z0-9_][\w.-]*"
_REF = re.compile(
    rf"hf:(?P<repo>{HUB_ID})(@(?P<revision>[A-Za-z0-9_][\w./-]*))?(:((?P<config>{_PART})/)?(?P<split>{_PART}))?",
    re.ASCII,
)
_COMMIT = re.compile("[0-9a-f]{40}")


class HubFile(NamedTuple):
    """A file of a data set that lies in the cache now."""

    name: str
    """Its path in the repo."""
    path: Path


class HubData(NamedTuple):
    """The files of one split at one commit, in order."""

    at: str
    """`hf:org/name@commit`"""
    ref: str
    """The same with config and split."""
    files: tuple[HubFile, ...]


class HubRef(NamedTuple):
    """What a user calls a split of a data set."""

    repo: str
    revision: str
    config: str
    """Empty: the only one, or the one that the README says is the default."""
    split: str

    @classmethod
    def parse(cls, text: str) -> Self:
        """Raises InvalidInputError saying what is accepted."""
        match = _REF.fullmatch(text)
        if match is None or ".." in text:
            raise InvalidInputError(f"data: {text!r} is no data set of the Hub (accepted: {ACCEPTED})", field="data")
        return cls(match["repo"], match["revision"] or "main", match["config"] or "", match["split"] or "train")


def fetch(text: str) -> HubData:
    """The files of a split, out of the cache or downloaded into it.

    Raises InvalidInputError, NotFoundError, AuthError, and UnavailableError when the Hub does not answer.
    """
    from huggingface_hub import HfApi, get_cached_repo_tree, snapshot_download

    ref = HubRef.parse(text)
    # The library itself reads this when it is imported, which may have been long ago.
    endpoint = os.environ.get("HF_ENDPOINT")
    with _hub_calls(f"hf:{ref.repo}@{ref.revision}"):
        api = HfApi(endpoint=endpoint, library_name="adapterhub")
        commit = str(api.resolve_revision(ref.repo, repo_type="dataset", revision=ref.revision).resolved)
        if not _COMMIT.fullmatch(commit):
            raise UnavailableError(f"hf:{ref.repo}: the Hub says {commit[:60]!r}, which is no commit")

        def get(names: Iterable[str]) -> Path:
            patterns = [escape(name) for name in names]
            return Path(
                snapshot_download(
                    ref.repo, repo_type="dataset", revision=commit, endpoint=endpoint, allow_patterns=patterns
                )
            )

        folder = get(["README.md"])
        listed = [file.path for file in get_cached_repo_tree(ref.repo, repo_type="dataset", revision=commit)]
        readme = (folder / "README.md").read_text(errors="replace") if "README.md" in listed else ""
        at = f"hf:{ref.repo}@{commit}"
        config, names = split_files(ref, at, [name for name in listed if name.endswith(SUFFIXES)], readme)
        get(names)
    if missing := [name for name in names if not (folder / name).is_file()]:
        raise UnavailableError(f"{at}: {missing[0]} is not in the cache, and the Hub does not answer")
    return HubData(at, f"{at}:{config}/{ref.split}", tuple(HubFile(name, folder / name) for name in names))


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
    for text in _texts(configs):
        if "://" in text or text.startswith(("/", "~")) or ".." in text:
            raise NotFoundError(f"{at}: its README.md names files elsewhere: {text[:80]!r}", resource=at)
    return f"---\n{yaml.safe_dump({'configs': configs})}---\n"


def _texts(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict | list):
        for each in value.values() if isinstance(value, dict) else value:
            yield from _texts(each)


@contextmanager
def _hub_calls(name: str) -> Iterator[None]:
    """What the Hub refuses, in the words of our errors."""
    from huggingface_hub import errors as hub

    try:
        yield
    except hub.GatedRepoError:
        message = f"{name}: gated on the Hub; ask for access there and log in with `hf auth login`"
        raise AuthError(message) from None
    except hub.RevisionNotFoundError:
        raise NotFoundError(f"{name}: the Hub has the data set, but not this revision", resource=name) from None
    except hub.RepositoryNotFoundError:
        message = f"{name}: no such data set on the Hub, or it is private (log in with `hf auth login`)"
        raise NotFoundError(message, resource=name) from None
    except (hub.RevisionResolutionError, hub.CachedRepoTreeNotFoundError):
        raise UnavailableError(f"{name}: the Hub does not answer, and it is not in the cache") from None
    except (hub.HTTPError, OSError) as error:  # type: ignore[attr-defined]  # from the HTTP library it uses
        reason = str(error).partition("\n")[0]
        raise UnavailableError(f"{name}: cannot be fetched from the Hub and is not in its cache: {reason}") from None
