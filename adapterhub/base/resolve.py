"""From what the user calls a base to a folder that holds it."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from pathlib import Path

from adapterhub.base import smollm2
from adapterhub.base_name import HUB_ID
from adapterhub.errors import BaseNotFoundError, UnavailableError, did_you_mean

ACCEPTED = f"the built-in {smollm2.NAME}, a folder with config.json, or a Hub id such as org/name or org/name@revision"

HUB_REF = re.compile(rf"(?P<id>{HUB_ID})(@(?P<revision>[A-Za-z0-9_][\w./-]*))?")
DOWNLOADED = ("*.json", "*.jinja", "*.txt", "tokenizer*")
"""Configs, templates and tokenizers. Never pickle or code."""
WEIGHTS = "*.safetensors"
NOT_DOWNLOADED = ("*/*", "consolidated*", "*.bin", "*.pt", "*.pth", "*.pkl", "*.py")
"""Subfolders and `consolidated` hold the same weights in other layouts."""


@dataclass(frozen=True)
class BaseFolder:
    """A base that lies on this machine."""

    id: str
    """Built-in name, the folder's name, or Hub id."""
    revision: str
    """The 40-hex commit on the Hub; empty when it did not come from there."""
    path: Path


def resolve_base(ref: str, *, weights: bool = True) -> BaseFolder:
    """The folder of base `ref`, downloaded or converted first where needed; from the Hub its weights only if wanted.

    Raises BaseNotFoundError naming what is accepted, or UnavailableError when the Hub does not answer.
    """
    if ref == smollm2.NAME:
        return BaseFolder(smollm2.NAME, "", smollm2.smollm2_folder())
    path = Path(ref).expanduser().absolute()
    if path.is_dir():
        return _checked(BaseFolder(path.name, "", path))
    if (match := HUB_REF.fullmatch(ref)) and ".." not in ref:
        return _checked(_download(match["id"], match["revision"], weights))
    hint = did_you_mean(ref, [smollm2.NAME])
    raise BaseNotFoundError(f"no base model {ref!r}{hint} (accepted: {ACCEPTED})", resource=ref)


def _checked(folder: BaseFolder) -> BaseFolder:
    # With adapter_config.json beside it, transformers would load another base and put the adapter on.
    if (folder.path / "adapter_config.json").is_file():
        raise BaseNotFoundError(f"{folder.path}: an adapter, not a base model", resource=folder.id)
    if not (folder.path / "config.json").is_file():
        raise BaseNotFoundError(f"{folder.path}: no config.json (accepted: {ACCEPTED})", resource=folder.id)
    return folder


def _download(repo: str, revision: str | None, weights: bool) -> BaseFolder:
    from huggingface_hub import errors as hub
    from huggingface_hub import snapshot_download

    name = f"{repo}@{revision}" if revision else repo
    try:
        path = snapshot_download(
            repo,
            revision=revision,
            allow_patterns=[*DOWNLOADED, *([WEIGHTS] if weights else [])],
            ignore_patterns=list(NOT_DOWNLOADED),
            # The library itself reads this when it is imported, which may have been long ago.
            endpoint=os.environ.get("HF_ENDPOINT"),
        )
    except hub.GatedRepoError:
        message = f"{name}: gated on the Hub; ask for access there and log in with `hf auth login`"
        raise BaseNotFoundError(message, resource=name) from None
    except hub.RevisionNotFoundError:
        raise BaseNotFoundError(f"{name}: the Hub has {repo}, but not this revision", resource=name) from None
    except hub.RepositoryNotFoundError:
        message = f"{name}: no folder here, and no model on the Hub (or it is private; log in with `hf auth login`)"
        raise BaseNotFoundError(message, resource=name) from None
    except (hub.HTTPError, OSError) as error:  # type: ignore[attr-defined]  # from the HTTP library it uses
        reason = str(error).partition("\n")[0]
        raise UnavailableError(f"{name}: cannot be fetched from the Hub and is not in its cache: {reason}") from None
    # snapshot_download names a snapshot's folder by its commit.
    return BaseFolder(repo, Path(path).name, Path(path))
