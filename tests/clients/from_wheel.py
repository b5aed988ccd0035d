"""The wheel alone, in an environment of its own and outside the checkout, serves and answers."""

from __future__ import annotations

import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path

import pytest
from conftest import save_random_adapter
from processes import served

from adapterhub.base import read_base
from adapterhub.store import Store

ROOT = Path(__file__).parent.parent.parent
SOURCES = ("adapterhub", "plugins", "server", "pyproject.toml", "README.md", "LICENSE")


@pytest.fixture(autouse=True)
def _no_other_path(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("PYTHONPATH", raising=False)


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The `bin` of an environment with the wheel, and with what it requires from the present one."""
    folder = tmp_path_factory.mktemp("wheel")
    copy_sources(folder / "sources")
    wheels, fresh = folder / "wheels", folder / "fresh"
    pip("wheel", "--no-deps", "--no-build-isolation", "--wheel-dir", str(wheels), str(folder / "sources"))
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(fresh)], check=True)
    python = fresh / "bin" / "python"
    (wheel,) = wheels.glob("adapterhub-*.whl")
    pip("--python", str(python), "install", "--no-deps", "--no-index", str(wheel))
    lend_requirements(folder / "requirements", site_of(python))
    return python.parent


def copy_sources(folder: Path) -> None:
    """What a build leaves in its folder would come into the next wheel: build in a clean one."""
    folder.mkdir()
    for name in SOURCES:
        if (ROOT / name).is_dir():
            shutil.copytree(ROOT / name, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy(ROOT / name, folder)


def pip(*words: str) -> None:
    command = [sys.executable, "-m", "pip", "--disable-pip-version-check", *words]
    ended = subprocess.run(command, capture_output=True, text=True)
    assert ended.returncode == 0, ended.stdout + ended.stderr


def site_of(python: Path) -> Path:
    ask = "import sysconfig; print(sysconfig.get_path('purelib'))"
    return Path(subprocess.run([python, "-c", ask], check=True, capture_output=True, text=True).stdout.strip())


def lend_requirements(folder: Path, site: Path) -> None:
    """All that is installed here but the project itself."""
    folder.mkdir()
    for name in {sysconfig.get_path("purelib"), sysconfig.get_path("platlib")}:
        for entry in Path(name).iterdir():
            if "adapterhub" not in entry.name:
                (folder / entry.name).symlink_to(entry)
    (site / "requirements.pth").write_text(f"{folder}\n")


def run(installed: Path, cwd: Path, *words: str) -> str:
    command = [str(installed / words[0]), *words[1:]]
    ended = subprocess.run(command, capture_output=True, text=True, cwd=cwd)
    assert ended.returncode == 0, ended.stderr
    return ended.stdout


def test_it_is_what_runs_there(installed: Path, tmp_path: Path) -> None:
    ask = "import adapterhub, adapterhub_lora, adapterhub_server as s; print(adapterhub_lora.__file__, s.__file__)"
    found = run(installed, tmp_path, "python", "-c", ask).split()
    assert [Path(name).is_relative_to(installed.parent) for name in found] == [True, True]


def test_it_holds_every_file_that_is_no_python(installed: Path) -> None:
    site = site_of(installed / "python")
    roots = (ROOT / "adapterhub", *(ROOT / "plugins").iterdir(), *(ROOT / "server").iterdir())
    others = {
        path.relative_to(root.parent)
        for root in roots
        for path in root.rglob("*")
        if path.is_file() and path.suffix not in (".py", ".pyc")
    }
    assert {path.suffix for path in others} >= {".jsonl", ".pyi", ".template", ".typed"}
    assert [path for path in others if not (site / path).is_file()] == []


def test_its_verbs_and_methods_are_those_of_the_checkout(installed: Path, tmp_path: Path) -> None:
    here = Path(sys.executable).parent
    for word in ("--help", "methods"):
        assert run(installed, tmp_path, "adapterhub", word) == run(here, tmp_path, "adapterhub", word)


def test_it_serves_an_adapter_from_outside_the_checkout(installed: Path, tmp_path: Path, tiny_base: Path) -> None:
    _, shape = read_base(str(tiny_base))
    Store.default().publish(save_random_adapter(tmp_path / "adapter", "bottleneck", shape), "orders")
    verb = (str(installed / "adapterhub"),)
    with served(tiny_base, verb=verb, cwd=tmp_path) as (_, address):
        words = ("generate", "--address", address, "--max-new-tokens", "12", "--ignore-eos", "--adapter")
        asked = run(installed, tmp_path, "adapterhub", *words, "orders", "hello")
        assert len(asked) > 1
        assert asked == run(Path(sys.executable).parent, tmp_path, "adapterhub", *words, "orders", "hello")
