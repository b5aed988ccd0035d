"""llama.cpp's server: the one on PATH, or else the one that the environment's script built. Weights in Q4_0."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from http.client import HTTPConnection
from pathlib import Path
from typing import Any

from benchmarks.peers.gguf_files import write_adapter, write_model
from benchmarks.peers.protocol import Ask, Load, serve

SLOT_TOKENS = 512
"""Room of each request for its prompt and its answer."""
PATIENCE = 300
"""Seconds the server has to load in."""


class LlamaServer:
    """Options: `weights` (Q4_0, F32), `threads`, `slots` (how many requests run at once)."""

    libraries = ("gguf", "numpy")

    def __init__(self) -> None:
        self._server: subprocess.Popen[bytes] | None = None
        self._port = 0
        self._adapters = 0

    def load(self, job: Load) -> None:
        files = job.cache / "llama.cpp" / "gguf"
        weights = job.options.get("weights", "Q4_0")
        model = _made(files / weights, job.model, lambda target: write_model(job.model, target, weights))
        adapters = [
            _made(files, folder, lambda target, folder=folder: write_adapter(folder, job.model, target))  # type: ignore[misc]
            for folder in job.adapters
        ]
        slots = job.options.get("slots", 32)
        threads = job.options.get("threads") or os.cpu_count() or 1
        self._adapters, self._port = len(adapters), _free_port()
        command = [server_binary(job.cache), "--model", str(model), "--host", "127.0.0.1", "--port", str(self._port)]
        command += ["--parallel", str(slots), "--ctx-size", str(slots * SLOT_TOKENS), "--threads", str(threads)]
        command += ["--no-cache-prompt", "--cache-ram", "0", "--no-webui", "--offline"]
        if adapters:
            command += ["--lora", ",".join(map(str, adapters)), "--lora-init-without-apply"]
        self._server = subprocess.Popen(command, stdout=sys.stderr)  # noqa: S603
        self._wait()

    def run(self, requests: list[Ask], new_tokens: int) -> list[list[int]]:
        with ThreadPoolExecutor(len(requests)) as threads:
            return list(threads.map(lambda request: self._complete(request, new_tokens), requests))

    def _complete(self, request: Ask, new_tokens: int) -> list[int]:
        body: dict[str, Any] = {"prompt": request.prompt, "n_predict": new_tokens, "temperature": 0.0}
        body |= {"cache_prompt": False, "return_tokens": True}
        if self._adapters:  # without any of these, all loaded adapters may apply
            chosen = {"id": 0, "scale": 0.0} if request.adapter is None else {"id": request.adapter, "scale": 1.0}
            body["lora"] = [chosen]
        connection = HTTPConnection("127.0.0.1", self._port)
        with contextlib.closing(connection):
            connection.request("POST", "/completion", json.dumps(body), {"Content-Type": "application/json"})
            answer = json.load(connection.getresponse())
        if "tokens" not in answer:
            raise RuntimeError(f"llama-server: {answer}")
        return list(answer["tokens"])

    def _wait(self) -> None:
        deadline = time.monotonic() + PATIENCE
        while time.monotonic() < deadline:
            assert self._server is not None
            if self._server.poll() is not None:
                raise RuntimeError(f"llama-server ended with {self._server.returncode}")
            with contextlib.suppress(OSError), contextlib.closing(HTTPConnection("127.0.0.1", self._port)) as ask:
                ask.request("GET", "/health")
                if ask.getresponse().status == 200:
                    return
            time.sleep(0.2)
        raise RuntimeError("llama-server does not become healthy")

    def close(self) -> None:
        if self._server is not None:
            self._server.kill()
            self._server.wait()


def server_binary(cache: Path) -> str:
    """Raises FileNotFoundError when there is none."""
    built = cache / "llama.cpp" / "bin" / "llama-server"
    found = shutil.which("llama-server") or (str(built) if built.is_file() else None)
    if found is None:
        raise FileNotFoundError("no llama-server on PATH nor built")
    return found


def _made(files: Path, folder: Path, write: Callable[[Path], None]) -> Path:
    """The GGUF file of a model or an adapter, written the first time."""
    facts = "".join(sorted(f"{path.name} {path.stat().st_size}" for path in folder.glob("*.safetensors")))
    key = hashlib.sha256(f"{folder.resolve()} {facts}".encode()).hexdigest()[:16]
    target = files / f"{key}.gguf"
    if not target.is_file():
        files.mkdir(parents=True, exist_ok=True)
        partial = target.with_suffix(".partial")
        write(partial)
        partial.rename(target)
    return target


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


if __name__ == "__main__":
    serve(LlamaServer())
