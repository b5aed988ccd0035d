"""Why a port cannot be had."""

from __future__ import annotations

import errno

from adapterhub.errors import UnavailableError


def cannot_listen(error: OSError, host: str, port: int, flag: str) -> UnavailableError:
    """The error of a port that cannot be bound; `flag` chooses another."""
    if error.errno == errno.EADDRINUSE:
        return UnavailableError(f"port {port} in use on {host}; choose another with {flag}")
    return UnavailableError(f"cannot listen on {host}, port {port}: {error.strerror}")
