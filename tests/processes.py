"""The command line as processes: servers, and verbs that run to their end."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

VERB = (sys.executable, "-m", "adapterhub")


@contextmanager
def served(
    base: Path,
    *options: str,
    verb: Sequence[str] = VERB,
    cwd: Path | None = None,
    environment: Mapping[str, str] | None = None,
    stderr: int | None = None,
) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """A server process of the verb, once it said that it serves, and its address."""
    command = [*verb, "serve", "--base", str(base), "--quantize", "int8", "--port", "0", *options]
    settings = {**os.environ, **(environment or {})}
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=stderr, text=True, cwd=cwd, env=settings) as process:
        try:
            assert process.stdout is not None
            line = process.stdout.readline()
            assert line.startswith(f"serving {base.name}, int8, "), line
            yield process, line.split()[-1]
        finally:
            process.kill()


def run(*words: str, given: str = "") -> subprocess.CompletedProcess[str]:
    return subprocess.run([*VERB, *words], input=given, capture_output=True, text=True, encoding="utf-8")
