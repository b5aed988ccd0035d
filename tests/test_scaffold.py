"""`adapterhub plugins new`: a project that passes its tests at once, or nothing at all."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
from test_cli import run

from adapterhub.errors import AdapterHubError, ConfigError, ConflictError
from adapterhub.scaffold import write_project


def python(*words: str, cwd: Path, path: Path | None = None) -> str:
    """What a process of its own says on stdout; it must succeed."""
    environment = os.environ | ({"PYTHONPATH": str(path)} if path else {})
    done = subprocess.run(
        [sys.executable, "-m", *words], cwd=cwd, env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A project as the verb writes it."""
    into = tmp_path_factory.mktemp("new")
    made = run("plugins", "new", "output_gate", "--into", str(into))
    assert made.exit_code == 0, made.stderr
    assert made.stdout == f"{into / 'adapterhub-output-gate'}\n"
    return into / "adapterhub-output-gate"


def test_a_new_project_is_four_files(project: Path) -> None:
    assert sorted(path.name for path in project.iterdir()) == [
        "README.md",
        "adapterhub_output_gate.py",
        "pyproject.toml",
        "test_output_gate.py",
    ]
    assert list(project.parent.iterdir()) == [project]
    assert project.stat().st_mode & 0o777 == 0o777 & ~_umask()
    assert tomllib.loads((project / "pyproject.toml").read_text())["project"]["name"] == "adapterhub-output-gate"


def test_its_tests_pass_at_once(project: Path) -> None:
    assert "passed" in python("pytest", "-p", "no:cacheprovider", cwd=project)


def test_its_code_is_in_order(project: Path) -> None:
    options = ("--isolated", "--no-cache", "--line-length", "120")
    python("ruff", "check", *options, "--extend-select", "I", ".", cwd=project)
    python("ruff", "format", *options, "--check", ".", cwd=project)


def test_installed_it_is_a_plugin(project: Path, tmp_path: Path) -> None:
    source, target = tmp_path / "source", tmp_path / "target"
    shutil.copytree(project, source)
    words = ("--quiet", "--no-deps", "--no-index", "--no-build-isolation", "--disable-pip-version-check")
    python("pip", "install", *words, "--target", str(target), str(source), cwd=tmp_path)
    listed = json.loads(python("adapterhub", "plugins", "--json", cwd=tmp_path, path=target))
    (ours,) = (plugin for plugin in listed if plugin["distribution"] == "adapterhub-output-gate")
    assert (ours["name"], ours["methods"], ours["ok"]) == ("output_gate", ["output_gate"], True)


@pytest.mark.parametrize("name", ["", "Gate", "my-gate", "1gate", "_gate", "my__gate", "gate_", "../gate", "gäte"])
def test_what_is_no_name_is_refused(name: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="accepted: lower-case letters, digits and single underscores"):
        write_project(name, tmp_path)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("lora", "there is a method 'lora' already"),
        ("vera", "there is a method 'vera' already"),  # PEFT's
        ("server", "a module adapterhub_server is installed already"),
        ("none", "a class cannot be called None"),
        ("method", "a class cannot be called Method"),
        ("tensor", "a class cannot be called Tensor"),
    ],
)
def test_a_name_that_is_taken_is_refused(name: str, reason: str, tmp_path: Path) -> None:
    refused = run("plugins", "new", name, "--into", str(tmp_path))
    assert (refused.exit_code, refused.stdout) == (2, "")
    assert reason in refused.stderr
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_is_there_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "adapterhub-gate").mkdir()
    with pytest.raises(ConflictError, match="adapterhub-gate is there already"):
        write_project("gate", tmp_path)
    assert list(tmp_path.rglob("*")) == [tmp_path / "adapterhub-gate"]


def test_nothing_is_left_of_a_project_that_was_not_finished(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise AdapterHubError("disk full")

    monkeypatch.setattr(Path, "rename", full)
    with pytest.raises(AdapterHubError, match="disk full"):
        write_project("gate", tmp_path)
    assert list(tmp_path.iterdir()) == []


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask
