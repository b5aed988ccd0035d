"""What the Hub refuses, in the words of adapterhub.errors."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from json import JSONDecodeError

import httpx2
from huggingface_hub import errors as theirs
from huggingface_hub import get_token

from adapterhub.errors import AdapterHubError, AuthError, ConflictError, NotFoundError, UnavailableError

LOGIN = "`hf auth login`"
MAX_QUOTED = 200
"""Characters of a server's own words."""


@contextmanager
def hub_calls(repo: str, revision: str = "") -> Iterator[None]:
    """Calls about one repo, within `hub_client`; what the Hub says no to is raised from our tree.

    Raises NotFoundError, AuthError, ConflictError and UnavailableError. No message holds the token.
    """
    name = f"{repo}@{revision}" if revision else repo
    try:
        yield
    except theirs.GatedRepoError:
        raise AuthError(f"{name}: gated; ask for access on the repo's page on the Hub, logged in{_as_now()}") from None
    except theirs.RevisionNotFoundError:
        raise NotFoundError(f"{repo}: the Hub has no revision {revision!r} of it", resource=name) from None
    except theirs.RepositoryNotFoundError:
        raise NotFoundError(
            f"{repo}: no such repo on the Hub, or it is private and not yours to see{_as_now()}", resource=repo
        ) from None
    except theirs.HfHubHTTPError as error:
        raise _refused(name, error) from None
    except theirs.OfflineModeIsEnabled:
        raise UnavailableError(f"{name}: offline, as HF_HUB_OFFLINE says") from None
    except UnavailableError as error:
        raise UnavailableError(f"{name}: {error}") from None
    except httpx2.RemoteProtocolError:  # only a download's, which was resumed as long as something came
        raise UnavailableError(f"{name}: the Hub broke off a download again and again") from None
    except JSONDecodeError:
        raise UnavailableError(f"{name}: what answers does not speak as the Hub does; is HF_ENDPOINT right?") from None
    except (httpx2.HTTPError, OSError) as error:
        raise UnavailableError(f"{name}: {quoted(error)}") from None


@contextmanager
def disk_errors() -> Iterator[None]:
    """Raises UnavailableError for what the system does not let be written or read."""
    try:
        yield
    except OSError as error:
        raise UnavailableError(f"{error.filename or 'the disk'}: {error.strerror or error}") from None


def require_login(repo: str) -> None:
    """Raises AuthError when nobody is logged in."""
    if not get_token():
        raise AuthError(f"{repo}: not logged in to the Hub; run {LOGIN} or set HF_TOKEN")


def quoted(error: Exception) -> str:
    """The first line of somebody else's message, without the token, should it have been echoed."""
    said = getattr(error, "server_message", None) or str(error) or type(error).__name__
    line = str(said).strip().partition("\n")[0]
    for secret in filter(None, (get_token(),)):
        line = line.replace(secret, "<token>")
    return re.sub(r"hf_\w{8,}", "<token>", line)[:MAX_QUOTED]


def _as_now() -> str:
    return "" if get_token() else f" (you are not logged in: {LOGIN})"


def _refused(name: str, error: theirs.HfHubHTTPError) -> AdapterHubError:
    status = error.response.status_code
    if status == 401:
        if get_token():
            return AuthError(f"{name}: the Hub does not accept your token; run {LOGIN} again")
        return AuthError(f"{name}: not logged in to the Hub; run {LOGIN} or set HF_TOKEN")
    if status == 403:
        return AuthError(f"{name}: your account may not do this: {quoted(error)}")
    if status in (409, 412):
        return ConflictError(f"{name}: {quoted(error)}")
    return AdapterHubError(f"{name}: the Hub refused ({status}): {quoted(error)}")
