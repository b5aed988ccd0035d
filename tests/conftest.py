"""Shared fixtures: tiny random bases, adapters that were never trained."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from huggingface_hub import constants
from hypothesis import settings
from safetensors.torch import save_file
from stand_in_hub import StandInHub

from adapterhub import BaseShape
from adapterhub.adapter import CONFIG_FILE, PROVENANCE_FILE, TENSORS_FILE
from adapterhub.plugins import installed_methods
from adapterhub.settings import CONFIG_VARIABLE, PREFIX
from adapterhub.testing import random_adapter, save_tiny_llama

torch.set_num_threads(1)  # tiny matmuls lose more to waiting for a second thread than they gain
os.environ.setdefault("OMP_NUM_THREADS", "1")  # nor do the processes that tests start take the other tests' core

settings.register_profile("shared-machine", deadline=None)  # a busy machine is no bug
settings.load_profile("shared-machine")


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--soak", action="store_true", help="run the random histories at full length")


@pytest.fixture
def count(request: pytest.FixtureRequest) -> Callable[[int, int], int]:
    """`count(usual, soak)`: how often to do something in this run."""
    soak = request.config.getoption("--soak")
    return lambda usual, full: full if soak else usual


@pytest.fixture(autouse=True)
def _own_store_and_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No test reads or writes the user's store, nor their settings."""
    kept = "ADAPTERHUB_CACHE"  # bases that took a minute to convert
    for name in [name for name in os.environ if name.startswith(PREFIX) and name != kept]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("ADAPTERHUB_STORE", str(tmp_path / "store"))
    monkeypatch.setenv("ADAPTERHUB_RUNS", str(tmp_path / "runs"))
    monkeypatch.setenv(CONFIG_VARIABLE, os.devnull)


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[StandInHub]:
    """A hub of this test's own, to which alice is logged in, and an empty cache. Nobody waits; `hub.waits` tells."""
    with StandInHub() as hub:
        monkeypatch.setenv("HF_ENDPOINT", hub.url)
        monkeypatch.setenv("HF_TOKEN", "hf_alice_secret")
        monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hf" / "hub"))
        monkeypatch.setattr(constants, "HF_HUB_DISABLE_TELEMETRY", True)  # it asks the real Hub
        monkeypatch.setattr(constants, "HF_TOKEN_PATH", str(tmp_path / "hf" / "token"))
        monkeypatch.setattr("adapterhub.hub.client.sleep", hub.waits.append)
        yield hub


@pytest.fixture(scope="session")
def tiny_base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of a tiny random Llama with tokenizer."""
    return save_tiny_llama(tmp_path_factory.mktemp("tiny-llama"))


@pytest.fixture(scope="session")
def other_base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A base of another width, which no adapter of `tiny_base` fits."""
    return save_tiny_llama(tmp_path_factory.mktemp("other-llama"), seed=1, hidden=48)


def save_random_adapter(
    folder: Path, method: str, shape: BaseShape, *, seed: int = 0, scale: float = 0.3, **options: Any
) -> Path:
    """A random adapter of the installed method of that name."""
    chosen = installed_methods().get(method)
    return random_adapter.save_random_adapter(
        folder, chosen, chosen.Config.load(options, where="test"), shape, seed=seed, scale=scale
    )


def save_stub_adapter(folder: Path, *, value: float = 1.0) -> Path:
    """The smallest adapter with provenance: one tensor filled with `value`; fits no base."""
    folder.mkdir(parents=True, exist_ok=True)
    save_file({"base_model.model.layer.lora_A.weight": torch.full((2, 3), float(value))}, folder / TENSORS_FILE)
    provenance = {
        "method": "lora",
        "base": {"id": "stub-base", "digest": f"sha256:{'0' * 64}"},
        "evaluations": {"accuracy": 0.5},
        "created": "2026-01-01T00:00:00Z",
    }
    (folder / CONFIG_FILE).write_text(json.dumps({"peft_type": "LORA", "r": 2, "lora_alpha": 4}))
    (folder / PROVENANCE_FILE).write_text(json.dumps(provenance))
    return folder
