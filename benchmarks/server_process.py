"""A server in a process of its own, as it is in production."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from adapterhub.errors import UnavailableError

PATIENCE = 60
"""Seconds it has to stop in."""


@contextmanager
def server_process(base: str, store: Path, *options: str) -> Iterator[str]:
    """The address of a server of `store`'s adapters. Raises UnavailableError when it does not start."""
    command = [
        sys.executable,
        "-m",
        "adapterhub",
        "serve",
        "--base",
        base,
        "--port",
        "0",
        "--log-level",
        "warning",
        *options,
    ]
    settings = {**os.environ, "ADAPTERHUB_STORE": str(store)}
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=settings) as process:  # noqa: S603
        try:
            assert process.stdout is not None
            line = process.stdout.readline()
            if not line.startswith("serving "):
                raise UnavailableError(f"the server did not start: {line.strip() or 'it printed nothing'}")
            yield line.split()[-1]
            process.terminate()
            process.wait(PATIENCE)
        finally:
            process.kill()
