"""The shared library of the kernels: compiled when it is first needed, kept under what it was made from.

Several processes may compile it at once; each writes a file of its own and moves it into place, and the last
one to do so replaces a library by its equal.
"""

from __future__ import annotations

import hashlib
import os
import platform
import shutil
import stat
import subprocess
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from adapterhub.errors import UnavailableError

SOURCE = Path(__file__).parent / "source"
# No -ffast-math: sums would lose their order, and a row its independence of its neighbours.
FLAGS = (
    "-std=gnu11",
    "-O3",
    "-march=native",
    "-ffp-contract=off",
    "-fno-math-errno",
    "-fno-trapping-math",
    "-fvisibility=hidden",
    "-Wno-psabi",
    "-shared",
    "-fPIC",
)
# libgomp is the one that torch has loaded, found by its name: both take turns on the same threads.
THREADS = "-fopenmp"
SECONDS = 120
"""After which the compiler counts as hung."""


@dataclass(frozen=True)
class Compiled:
    """A compiled library."""

    path: Path
    digest: str
    """Of everything it was made from."""
    compiler: str
    """Its path, and what it says of its version."""
    threads: bool
    """Whether it uses more than one."""


def compiled(folder: Path, extra: Sequence[str] = ()) -> Compiled:
    """The library for this machine in `folder`, compiled with `extra` flags if it is not there.

    Raises UnavailableError with the reason when there is no compiler, or it does not compile the kernels.
    """
    compiler = find_compiler()
    version = _run([compiler, "--version"]).partition("\n")[0].strip()
    problem = ""
    for flags in ((*FLAGS, THREADS, *extra), (*FLAGS, *extra)):
        digest = _digest(version, flags)
        found = Compiled(folder / f"{digest[:32]}.so", digest, f"{compiler}, {version}", THREADS in flags)
        try:
            if not found.path.is_file():
                _compile(compiler, flags, found.path)
            _check_owner(found.path)
        except UnavailableError as error:
            problem = problem or str(error)
            continue
        return found
    raise UnavailableError(problem)


def find_compiler() -> str:
    """The C compiler: what CC names, or cc, gcc or clang. Raises UnavailableError when there is none."""
    names = [name for name in (os.environ.get("CC"), "cc", "gcc", "clang") if name]
    for name in names:
        if path := shutil.which(name):
            return path
    raise UnavailableError(f"no C compiler (looked for {', '.join(names)})")


def _digest(version: str, flags: Sequence[str]) -> str:
    """Of sources, compiler, flags and processor: a cache may lie on a disk that several machines share.

    Not of what the compiler is called, with which its version begins: cc and gcc are often the same, and a base's
    runtime digest should not depend on whether a process has CC set.
    """
    _, _, version = version.partition(" ")
    found = hashlib.sha256("\n".join((version, *flags, _processor())).encode())
    for path in sorted(SOURCE.iterdir()):
        if path.suffix in (".c", ".h"):
            found.update(path.name.encode() + path.read_bytes())
    return found.hexdigest()


def _processor() -> str:
    """What -march=native looks at."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return f"{platform.machine()} {platform.processor()}"
    names = ("model name", "flags", "Features", "CPU part")
    return "\n".join(sorted({line for line in lines if line.startswith(names)}))


def _check_owner(path: Path) -> None:
    """Its code runs as the user: nobody else may have written it. Raises UnavailableError."""
    for place in (path, path.parent):
        status = place.stat()
        if status.st_uid not in (0, os.geteuid()) or status.st_mode & stat.S_IWOTH:
            raise UnavailableError(f"{place}: others may write it, so what lies there is not run")


def _compile(compiler: str, flags: Sequence[str], path: Path) -> None:
    sources = sorted(map(str, SOURCE.glob("*.c")))
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=".tmp-", dir=path.parent) as folder:
            made = Path(folder) / "kernels.so"
            _run([compiler, *flags, *sources, "-o", str(made), "-lm"])
            made.replace(path)
    except OSError as error:
        raise UnavailableError(f"{path.parent}: {error.strerror or error}") from None


def _run(command: Sequence[str]) -> str:
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=SECONDS)  # noqa: S603  no shell
    except (OSError, subprocess.TimeoutExpired) as error:
        raise UnavailableError(f"{command[0]}: {error}") from None
    if done.returncode:
        lines = done.stderr.strip().splitlines() or [f"ended with {done.returncode}"]
        line = next((line for line in lines if "error" in line), lines[-1])
        raise UnavailableError(f"{command[0]}: {line}")
    return done.stdout
