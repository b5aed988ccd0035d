"""`docs/writing-a-method.md` does what it says: its blocks, one after the other, are run as one script.

A python block is the file that its first line names, or the next part of it; the `sh` blocks are
typed into a shell of an environment of its own. The base is a tiny one and the port is free.
"""

from __future__ import annotations

import os
import re
import socket
import subprocess
import sys
import sysconfig
import venv
from collections.abc import Iterator
from pathlib import Path

import pytest

PAGE = (Path(__file__).parent.parent / "docs" / "writing-a-method.md").read_text()
BLOCKS = re.findall(r"^```(\w*)\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)
SERVE = """{command} > serve.log &
server=$!
trap 'kill $server' EXIT
until grep -q '^serving' serve.log; do kill -0 $server; sleep 0.5; done
"""


def script(base: Path, port: int) -> Iterator[str]:
    """The page's blocks as parts of one shell script."""
    written: set[str] = set()
    yield "set -euo pipefail\n"
    for language, text in BLOCKS:
        if language == "python":
            first, code = text.split("\n", 1)
            name = first.removeprefix("# ")
            gap = "\n\n" if name in written else ""
            yield f"cat {'>>' if name in written else '>'} {name} <<'PYTHON'\n{gap}{code}PYTHON\n"
            written.add(name)
            continue
        text = text.replace("smollm2-135m", str(base))
        text = text.replace("adapterhub generate", f"adapterhub generate --address 127.0.0.1:{port}")
        if text.startswith("adapterhub serve"):
            text = SERVE.format(command=f"{text.strip()} --port {port}")
        yield text
    style = f"{sys.executable} -m ruff {{}} --isolated --no-cache --line-length 120 {{}}\n"
    yield style.format("check", "--extend-select I")
    yield style.format("format", "--check")


@pytest.fixture
def commands(tmp_path: Path) -> Path:
    """A folder of commands that use an environment of its own, where what this one has is there too."""
    venv.create(tmp_path / "venv", with_pip=False, symlinks=True)
    python = tmp_path / "venv" / "bin" / "python"
    (site,) = (tmp_path / "venv" / "lib").glob("python*/site-packages")
    (site / "outer.pth").write_text(f"import site; site.addsitedir({sysconfig.get_path('purelib')!r})\n")
    folder = tmp_path / "commands"
    folder.mkdir()
    for name, options in (("adapterhub", ""), ("pytest", ""), ("pip", "--no-index --no-deps --no-build-isolation")):
        command = folder / name
        command.write_text(f'#!/bin/sh\nexec {python} -m {name} "$@" {options}\n')
        command.chmod(0o755)
    return folder


def test_every_block_is_a_file_or_for_the_shell() -> None:
    assert {language for language, _ in BLOCKS} == {"python", "sh"}
    assert all(re.match(r"# \w+\.py\n", text) for language, text in BLOCKS if language == "python")
    assert PAGE.count("```") == 2 * len(BLOCKS)


@pytest.mark.timeout(600)
def test_the_page_does_what_it_says(tiny_base: Path, tmp_path: Path, commands: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    environment = os.environ | {"PATH": f"{commands}{os.pathsep}{os.environ['PATH']}", "OMP_NUM_THREADS": "1"}
    workshop = tmp_path / "workshop"
    workshop.mkdir()
    words = ["bash", "-c", "".join(script(tiny_base, port))]
    done = subprocess.run(words, cwd=workshop, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert re.search(r"^bitfit +adapterhub-bitfit 0\.1\.0 .* ok$", done.stdout, re.MULTILINE)
    assert re.search(r"^ +method +bitfit\b", done.stdout, re.MULTILINE)
    assert "scaling" in done.stdout
