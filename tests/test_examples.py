"""The plugins in `examples/`, installed: they train, publish, and are served beside the built-in methods."""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
from conftest import save_random_adapter
from training import assert_trains

from adapterhub.adapter import Adapter
from adapterhub.base import BaseModel
from adapterhub.peft import register_installed
from adapterhub.plugins import VARIABLE, installed_methods
from adapterhub.store import Store
from adapterhub.testing.equality import assert_equal, greedy, recording_engine, run

EXAMPLES = Path(__file__).parent.parent / "examples"
PROJECTS = sorted(path.parent for path in EXAMPLES.glob("*/pyproject.toml"))
TRAINED: dict[str, tuple[float, dict[str, Any]]] = {
    "ssf": (0.02, {}),
    "persistent_memory": (0.1, {"slots": 8}),
    "decomposed_prompt": (0.1, {"num_virtual_tokens": 8, "rank": 4}),
}
"""Learning rate and options, by method."""
BUILT_IN: dict[str, dict[str, Any]] = {
    "lora": {"r": 4},
    "bottleneck": {"reduction_factor": 4},
    "prefix_tuning": {"num_virtual_tokens": 5},
    "prompt_tuning": {"num_virtual_tokens": 7},
}
USED = ",".join((*TRAINED, *BUILT_IN, "formats", "sft"))
MODULE_SITE = EXAMPLES / "adapterhub-ssf" / "adapterhub_ssf.py"


@pytest.fixture(scope="module", autouse=True)
def _installed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """The three projects, installed by pip into a folder of their own, and used with some built-in plugins."""
    sources, target = tmp_path_factory.mktemp("sources"), tmp_path_factory.mktemp("installed")
    for project in PROJECTS:  # building writes into a project's folder
        shutil.copytree(project, sources / project.name)
    options = ("--quiet", "--no-deps", "--no-index", "--no-build-isolation", "--disable-pip-version-check")
    copies = map(str, sources.iterdir())
    subprocess.run([sys.executable, "-m", "pip", "install", *options, "--target", str(target), *copies], check=True)
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(target)
        patch.setenv(VARIABLE, USED)
        register_installed()
        yield


@pytest.fixture(autouse=True)
def _used(monkeypatch: pytest.MonkeyPatch) -> None:
    """Also in each test, which starts without settings."""
    monkeypatch.setenv(VARIABLE, USED)


@pytest.fixture(scope="module")
def base(tiny_base: Path) -> BaseModel:
    return BaseModel.load(str(tiny_base), quantization="none")


def test_each_example_is_one_method_by_the_same_door() -> None:
    ours = {plugin.distribution: plugin for plugin in installed_methods().plugins if plugin.name in TRAINED}
    assert set(ours) == {project.name for project in PROJECTS}
    assert all(plugin.methods == (plugin.name,) and not plugin.error for plugin in ours.values())


def test_a_method_with_module_sites_is_under_40_lines() -> None:
    assert len(MODULE_SITE.read_text().splitlines()) < 40


def test_examples_train_publish_and_are_served_beside_built_in_methods(base: BaseModel, tmp_path: Path) -> None:
    store = Store(tmp_path / "store")
    for method, (rate, options) in TRAINED.items():
        folder = tmp_path / method / "adapter"
        assert_trains(base, method, folder, rate=rate, options=options)
        store.publish(folder, method)
    for method, options in BUILT_IN.items():
        store.publish(save_random_adapter(tmp_path / method, method, base.shape, scale=0.1, **options), method)
    adapters: Mapping[str, Adapter] = {
        digest: store.resolve(f"{method}@{digest}")
        for method in (*TRAINED, *BUILT_IN)
        for digest in (store.pin(method).digest,)
    }
    requests = [greedy(range(20, 40), digest, 6) for digest in ("", *adapters, "", *adapters)]
    with recording_engine(base, adapters) as (engine, recorder):
        alone = [run(engine, recorder, [request])[0] for request in requests]
        assert_equal(engine, recorder, requests, alone)
        assert engine.stats().mixed_method_steps
    bare = alone[0].logits[0]
    assert all((row.logits[0] - bare).abs().max() > 0.05 for row in alone[1 : len(adapters) + 1])
