"""The files of a split of a data set on the Hugging Face Hub, in the cache of `huggingface_hub`.

No file beside the README and the split's own is fetched.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from glob import escape
from json import JSONDecodeError
from pathlib import Path
from typing import NamedTuple

from adapterhub.data.hub_ref import HubRef
from adapterhub.data.hub_splits import SUFFIXES, split_files
from adapterhub.errors import AuthError, NotFoundError, UnavailableError

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
    except JSONDecodeError:
        raise UnavailableError(f"{name}: what answers does not speak as the Hub does; is HF_ENDPOINT right?") from None
    except (hub.HTTPError, OSError) as error:  # type: ignore[attr-defined]  # from the HTTP library it uses
        reason = str(error).partition("\n")[0]
        raise UnavailableError(f"{name}: cannot be fetched from the Hub and is not in its cache: {reason}") from None
