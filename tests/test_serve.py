"""`adapterhub serve` and `adapterhub generate` as processes."""

from __future__ import annotations

import json
import signal
import socket
import subprocess
import sys
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from urllib.request import urlopen

import pytest
from conftest import save_random_adapter
from processes import run, served

from adapterhub.base import read_base
from adapterhub.client import Client, Piece
from adapterhub.errors import UnavailableError
from adapterhub.store import Store


def test_serve_preloads_answers_generate_and_stops_on_sigterm(tiny_base: Path, tmp_path: Path) -> None:
    _, shape = read_base(str(tiny_base))
    Store.default().publish(save_random_adapter(tmp_path / "a", "lora", shape), "preloaded")
    with served(tiny_base, "--adapter", "preloaded", "--router", "similarity") as (process, address):
        assert process.stdout is not None
        # 3 layers of 2 x 2 heads of 8, in fp32: 384 bytes a token
        assert process.stdout.readline().startswith(
            "keys and values: 16384 tokens, 6.3 MB; context: 512; in a step: at most 32 generations; adapters: "
        )
        with Client(address) as client:
            assert [resident.refs for resident in client.list()] == [("preloaded:latest",)]
            assert client.generate("hello", max_new_tokens=1).route == ("router", "similarity", "")
            expected = client.generate("hello", adapter="preloaded", max_new_tokens=12).text
        words = ("generate", "--address", address, "--adapter", "preloaded", "--max-new-tokens", "12")
        asked, piped = run(*words, "hello"), run(*words, given="hello")
        assert (asked.returncode, asked.stdout) == (0, expected + "\n"), asked.stderr
        assert piped.stdout == asked.stdout
        whole = json.loads(run(*words, "--json", "hello").stdout)
        assert (whole["text"], whole["usage"]["generated_tokens"]) == (expected, 12)
        stopped = run(*words, "--stop", expected[5:7], "hello")
        assert stopped.stdout == expected[: expected.index(expected[5:7])] + "\n"
        biased = ("--logit-bias", "39", "100", "--logit-bias", "40", "99", "--bad-word", "F")
        several = run(*words, *biased, "--n", "2", "--min-tokens", "3", "hello")
        assert several.stdout == "".join(f"--- {number}\n{'G' * 12}\n" for number in (1, 2)), several.stderr
        told = json.loads(run(*words, "--json", "--n", "2", "--prompt-logprobs", "1", "hello").stdout)
        assert [choice["text"] for choice in told["choices"]] == [expected] * 2
        assert len(told["prompt_logprobs"]) == told["usage"]["prompt_tokens"] - 1
        wrong = run(*words, "--temperature", "11", "hello")
        assert (wrong.returncode, wrong.stdout) == (2, "")
        assert "temperature" in wrong.stderr
        process.send_signal(signal.SIGTERM)
        assert process.wait(timeout=60) == 0


def test_serve_tells_the_limits_it_was_given_and_where_its_other_doors_are_and_logs_json(tiny_base: Path) -> None:
    sizes = ("--adapter-bytes", "3MB", "--host-adapter-bytes", "1MiB")
    limits = ("--kv-tokens", "64", "--max-context", "100", "--max-sequences", "2", "--step-tokens", "8", *sizes)
    seen = ("--metrics-port", "0", "--http-port", "0", "--log-format", "json")
    with served(tiny_base, *limits, *seen, stderr=subprocess.PIPE) as (process, address):
        assert process.stdout is not None
        assert process.stdout.readline() == (
            "keys and values: 64 tokens, 24.6 kB; context: 100; in a step: at most 2 generations; adapters: 3.0 MB, "
            "on the host 1.0 MB\n"
        )
        http = process.stdout.readline().removeprefix("http: ").strip()
        page = process.stdout.readline().removeprefix("playground: ").strip()
        url = process.stdout.readline().removeprefix("metrics: ").strip()
        with Client(address) as client:
            client.info()
        with urlopen(f"{http}/models") as answer:
            assert [model["id"] for model in json.load(answer)["data"]] == [tiny_base.name]
        with urlopen(page) as answer:
            assert b"<title>adapterhub playground</title>" in answer.read()
        with urlopen(url) as answer:
            text = answer.read().decode()
        process.terminate()
        _, logged = process.communicate(timeout=60)
    assert 'adapterhub_requests_total{adapter="",outcome="ok",rpc="Server/Info"} 1.0' in text
    assert [json.loads(line)["message"] for line in logged.splitlines()] == [
        "Server/Info ok",
        "OpenAI/ListModels ok",
    ]
    assert process.returncode == 0


def test_serve_takes_its_settings_from_a_file_and_flags_win(tiny_base: Path, tmp_path: Path) -> None:
    file = tmp_path / "serve.toml"
    file.write_text('kv_tokens = 64\nmax_context = 90\nmax_sequences = 2\nadapter_bytes = "3MB"\n')
    with served(tiny_base, "--config", str(file), "--max-context", "100") as (process, _):
        assert process.stdout is not None
        assert process.stdout.readline().startswith(
            "keys and values: 64 tokens, 24.6 kB; context: 100; in a step: at most 2 generations; adapters: 3.0 MB"
        )
    file.write_text("kv_token = 64\n")
    wrong = run("serve", "--base", str(tiny_base), "--config", str(file))
    assert wrong.returncode == 2
    assert "kv_token: no option of `serve`; did you mean 'kv_tokens'?" in wrong.stderr
    assert run("serve", "--base", str(tiny_base), "--config", str(tmp_path / "gone")).returncode == 2


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


DIES = """
import adapterhub_server.serve as serve
from adapterhub.cli.main import main
from adapterhub.engine import Engine

def die(sequence, logits):
    raise SystemExit("a bug in the engine")

serve.Engine = lambda base, **options: Engine(base, observe=die, **options)
main()
"""


def test_an_engine_that_dies_turns_health_and_ends_the_server(tiny_base: Path) -> None:
    words = ["serve", "--base", str(tiny_base), "--quantize", "none", "--port", "0", "--grace", "0"]
    with subprocess.Popen(
        [sys.executable, "-c", DIES, *words], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        address = process.stdout.readline().split()[-1]
        with Client(address) as client, pytest.raises(UnavailableError):
            client.generate("hello", timeout=60)
        assert process.wait(timeout=60) == 6
        assert process.stderr.read().splitlines()[-1].startswith("error: the engine has stopped by itself")


def test_a_second_signal_ends_a_server_that_waits_for_what_runs(tiny_base: Path) -> None:
    with served(tiny_base, "--grace", "600") as (process, address), Client(address) as client:
        running = client.generate_stream("hello", max_new_tokens=480, ignore_eos=True)
        next(running)
        with pytest.raises(UnavailableError):
            signal_at_each(running, process)
        assert process.wait(timeout=60) == -signal.SIGTERM


def signal_at_each(pieces: Iterable[Piece], process: subprocess.Popen[str]) -> None:
    for _ in pieces:
        process.send_signal(signal.SIGTERM)


def test_a_port_in_use_ends_serve_before_the_base_is_looked_for() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        refused = run("serve", "--base", "no/such-base", "--port", str(port))
    assert refused.returncode == 6
    assert refused.stderr == f"error: port {port} in use on 127.0.0.1; choose another with --port\n"


def test_serve_refuses_settings_by_name() -> None:
    for words, named in (
        (("--port", "70000"), "--port: "),
        (("--quantize", "int3"), "--quantize: "),
        (("--max-sequences", "0"), "--max-sequences: "),
        (
            ("--adapter-bytes", "lots"),
            "--adapter-bytes: not a size (accepted: such as 512MB, 2GiB, or a number of bytes)",
        ),
        (("--host-adapter-bytes", "-1"), "--host-adapter-bytes: "),
        (("--step-tokens", "0"), "--step-tokens: "),
        (("--metrics-port", "65536"), "--metrics-port: "),
        (("--log-format", "xml"), "--log-format: "),
        (("--log-level", "all"), "--log-level: "),
    ):
        refused = run("serve", "--base", "smollm2-135m", *words)
        assert refused.returncode == 2
        assert refused.stderr.startswith(f"error: {named}")


def test_generate_without_a_server_says_how_to_start_one() -> None:
    alone = run("generate", "--address", "127.0.0.1:1", "hello")
    assert alone.returncode == 6
    assert "adapterhub serve" in alone.stderr


@pytest.mark.parametrize("module", ["adapterhub_server.command", "adapterhub.cli.generate"])
def test_verbs_import_without_torch(module: str) -> None:
    check = f"import sys, {module}; sys.exit(bool({{'torch', 'transformers'}} & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-c", check]).returncode == 0
