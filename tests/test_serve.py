"""`adapterhub serve` and `adapterhub generate` as processes."""

from __future__ import annotations

import signal
import socket
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from conftest import save_random_adapter
from processes import run, served

from adapterhub.base import read_base
from adapterhub.client import Client
from adapterhub.store import Store


def test_serve_preloads_answers_generate_and_stops_on_sigterm(tiny_base: Path, tmp_path: Path) -> None:
    _, shape = read_base(str(tiny_base))
    Store.default().publish(save_random_adapter(tmp_path / "a", "lora", shape), "preloaded")
    with served(tiny_base, "--adapter", "preloaded") as (process, address):
        assert process.stdout is not None
        # 3 layers of 2 x 2 heads of 8, in fp32: 384 bytes a token
        assert process.stdout.readline().startswith(
            "keys and values: 16384 tokens, 6.3 MB; context: 512; in a step: at most 32 generations; adapters: "
        )
        with Client(address) as client:
            assert [resident.refs for resident in client.list()] == [("preloaded:latest",)]
            expected = client.generate("hello", adapter="preloaded", max_new_tokens=12).text
        words = ("generate", "--address", address, "--adapter", "preloaded", "--max-new-tokens", "12")
        asked, piped = run(*words, "hello"), run(*words, given="hello")
        assert (asked.returncode, asked.stdout) == (0, expected + "\n"), asked.stderr
        assert piped.stdout == asked.stdout
        stopped = run(*words, "--stop", expected[5:7], "hello")
        assert stopped.stdout == expected[: expected.index(expected[5:7])] + "\n"
        wrong = run(*words, "--temperature", "11", "hello")
        assert (wrong.returncode, wrong.stdout) == (2, "")
        assert "temperature" in wrong.stderr
        process.send_signal(signal.SIGTERM)
        assert process.wait(timeout=60) == 0


def test_serve_tells_the_limits_it_was_given(tiny_base: Path) -> None:
    sizes = ("--adapter-bytes", "3MB", "--host-adapter-bytes", "1MiB")
    limits = ("--kv-tokens", "64", "--max-context", "100", "--max-sequences", "2", "--step-tokens", "8", *sizes)
    with served(tiny_base, *limits) as (process, _):
        assert process.stdout is not None
        assert process.stdout.readline() == (
            "keys and values: 64 tokens, 24.6 kB; context: 100; in a step: at most 2 generations; adapters: 3.0 MB, "
            "on the host 1.0 MB\n"
        )


def test_serve_help_names_every_limit() -> None:
    told = " ".join(run("serve", "--help").stdout.split())
    for flag in ("--adapter-bytes", "--host-adapter-bytes", "--max-context", "--step-tokens", "512MB or 2GiB"):
        assert flag in told


def test_what_runs_ends_within_the_grace(tiny_base: Path) -> None:
    with served(tiny_base) as (process, address), Client(address) as client, ThreadPoolExecutor(1) as pool:
        running = client.generate_stream("hello", max_new_tokens=300, ignore_eos=True)
        pieces = [next(running)]
        process.send_signal(signal.SIGTERM)
        pieces += pool.submit(list, running).result(timeout=60)
        assert sum(len(piece.token_ids) for piece in pieces) == 300
        assert process.wait(timeout=60) == 0


def test_a_port_in_use_ends_serve_before_the_base_is_looked_for() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        refused = run("serve", "--base", "no/such-base", "--port", str(port))
    assert refused.returncode == 6
    assert refused.stderr == f"error: port {port} in use on 127.0.0.1; choose another with --port\n"


def test_serve_refuses_settings_by_name() -> None:
    for words, named in (
        (("--port", "70000"), "port"),
        (("--quantize", "int3"), "quantize"),
        (("--max-sequences", "0"), "max_sequences"),
        (
            ("--adapter-bytes", "lots"),
            "adapter_bytes: not a size (accepted: such as 512MB, 2GiB, or a number of bytes)",
        ),
        (("--host-adapter-bytes", "-1"), "host_adapter_bytes"),
        (("--step-tokens", "0"), "step_tokens"),
    ):
        refused = run("serve", "--base", "smollm2-135m", *words)
        assert refused.returncode == 2
        assert f"serve: {named}" in refused.stderr


def test_generate_without_a_server_says_how_to_start_one() -> None:
    alone = run("generate", "--address", "127.0.0.1:1", "hello")
    assert alone.returncode == 6
    assert "adapterhub serve" in alone.stderr


@pytest.mark.parametrize("module", ["adapterhub_server.command", "adapterhub.cli.generate"])
def test_verbs_import_without_torch(module: str) -> None:
    check = f"import sys, {module}; sys.exit(bool({{'torch', 'transformers'}} & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-c", check]).returncode == 0
