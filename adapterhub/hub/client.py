"""How this package talks to the Hub: one HTTP client that waits, tries again, and gives up with a reason.

`huggingface_hub` makes some of its calls once and others six times, waits as long as a server asks it
to, and has no time limit for most. `hub_client` puts a client of ours under all of its calls: what
may pass is tried again, here and nowhere else.

What is not covered: other threads that use `huggingface_hub` at the same moment, since its client
is one for the process; and transfers by Xet, which are made in Rust and tried again there.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from time import sleep
from typing import Any

import httpx2
from huggingface_hub import constants, set_client_factory
from huggingface_hub.utils._http import default_client_factory, hf_request_event_hook, parse_ratelimit_headers

from adapterhub.errors import UnavailableError

TRIES = 5
FIRST_WAIT = 1.0
"""Seconds; doubled after every try."""
LONGEST_WAIT = 60.0
"""Seconds; a server that asks for more is not waited for."""
BY_THE_WAY = "/api/agent-harnesses"
"""What `huggingface_hub` looks up for its user agent."""
PASSING = frozenset((408, 429, 500, 502, 503, 504))
"""Statuses that may be gone the next time."""

_ONE_AT_A_TIME = threading.Lock()


@contextmanager
def hub_client() -> Iterator[None]:
    """`huggingface_hub` uses our client meanwhile; one thread at a time, and not one within another."""
    with _ONE_AT_A_TIME:
        set_client_factory(_client)
        try:
            yield
        finally:
            set_client_factory(default_client_factory)


def _client() -> httpx2.Client:
    seconds = float(constants.HF_HUB_DOWNLOAD_TIMEOUT)
    return PatientClient(
        # Theirs refuses requests in offline mode and counts downloads.
        event_hooks={"request": [hf_request_event_hook]},
        follow_redirects=True,
        # A commit is answered when it is made.
        timeout=httpx2.Timeout(seconds, read=6 * seconds),
    )


class PatientClient(httpx2.Client):
    """Sends a request up to TRIES times; raises UnavailableError, which no caller above takes for one to try again."""

    def send(self, request: httpx2.Request, **options: Any) -> httpx2.Response:
        # An upload out of a file is rewound by its caller; what it asks for by the way, it can do without.
        if not isinstance(request.stream, httpx2.ByteStream) or request.url.path.endswith(BY_THE_WAY):
            return super().send(request, **options)
        if not any((request.extensions.get("timeout") or {}).values()):  # some callers say "for ever"
            request.extensions["timeout"] = self.timeout.as_dict()
        for tried in range(1, TRIES + 1):
            asked = None
            try:
                response = super().send(request, **options)
                if response.status_code not in PASSING:
                    response.stream = _Body(response.stream) if options.get("stream") else response.stream
                    return response
                reason, asked = f"answers {response.status_code}", _asked_to_wait(response)
                response.close()
            except (httpx2.TimeoutException, httpx2.NetworkError, httpx2.RemoteProtocolError) as error:
                reason = _reason(error)
            if asked is not None and asked > LONGEST_WAIT:
                raise UnavailableError(
                    f"the Hub {reason} and asks to wait for {asked:.0f} s, at most {LONGEST_WAIT:.0f} s are waited"
                )
            if tried < TRIES:
                sleep(asked if asked is not None else FIRST_WAIT * 2 ** (tried - 1))
        raise UnavailableError(f"the Hub {reason}; tried {TRIES} times")


class _Body(httpx2.SyncByteStream):
    """A streamed body. A reset in its midst is one more way to end too early, after which a download is resumed."""

    def __init__(self, stream: Any) -> None:
        self._stream = stream

    def __iter__(self) -> Iterator[bytes]:
        try:
            yield from self._stream
        except httpx2.ReadError as error:
            raise httpx2.RemoteProtocolError(str(error) or "connection reset") from None

    def close(self) -> None:
        self._stream.close()


def _asked_to_wait(response: httpx2.Response) -> float | None:
    """Seconds to wait, by Retry-After or the Hub's own headers; None when it does not say."""
    after = response.headers.get("Retry-After", "").strip()
    if after.isdecimal():
        return float(after)
    limit = parse_ratelimit_headers(response.headers)
    return float(limit.reset_in_seconds) if limit is not None and limit.remaining == 0 else None


def _reason(error: httpx2.TransportError) -> str:
    if isinstance(error, httpx2.ConnectError | httpx2.ConnectTimeout):
        return "does not answer"
    if isinstance(error, httpx2.TimeoutException):
        return "did not answer in time"
    return "closed the connection before its answer was complete"
