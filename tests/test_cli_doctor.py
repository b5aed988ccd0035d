"""`adapterhub doctor`: what it finds, what counts as broken, and what it keeps to itself."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest
from conftest import save_stub_adapter
from test_cli import install, run

from adapterhub import __version__
from adapterhub.adapter import TENSORS_FILE
from adapterhub.doctor import Finding, examine
from adapterhub.store import Store


def found() -> dict[tuple[str, str], dict[str, Any]]:
    """Findings by area and name."""
    done = run("doctor", "--json")
    report = json.loads(done.stdout)
    assert report["ok"] is (done.exit_code == 0)
    return {(each["area"], each["name"]): each for each in report["findings"]}


@pytest.fixture
def published(tmp_path: Path) -> Store:
    Store.default().publish(save_stub_adapter(tmp_path / "adapter"), "digits")
    return Store.default()


def test_it_tells_versions_devices_and_kernels(published: Store) -> None:
    told = found()
    assert told["versions", "adapterhub"]["value"] == __version__
    assert "threads" in told["devices", "cpu"]["value"]
    assert {name for area, name in told if area == "kernels"} == {"default", "native", "none", "int8", "nf4"}
    assert told["store", "adapters"]["value"] == "1"
    assert not [each for each in told.values() if each["level"] == "broken"]
    assert {area for area, _ in told} == {
        "config",
        "versions",
        "devices",
        "kernels",
        "cache",
        "store",
        "plugins",
        "hub",
    }


def test_it_tells_why_there_are_no_native_kernels(
    published: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert "compiled by" in found()["kernels", "native"]["value"]
    monkeypatch.setenv("ADAPTERHUB_KERNELS", "torch")
    off = found()["kernels", "native"]
    assert (off["value"], off["level"]) == ("none: switched off by the setting `kernels`", "ok")
    monkeypatch.delenv("ADAPTERHUB_KERNELS")
    monkeypatch.setenv("ADAPTERHUB_CACHE", str(tmp_path / "empty"))
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.delenv("CC", raising=False)
    missing = found()["kernels", "native"]
    assert (missing["value"], missing["level"]) == ("none: torch computes", "warning")
    assert missing["problem"].startswith("no C compiler (looked for cc, gcc, clang)")


def test_a_damaged_adapter_is_broken(published: Store) -> None:
    published.resolve("digits").files[TENSORS_FILE].unlink()
    told = run("doctor")
    assert told.exit_code == 1
    assert "broken: store: digits:latest: " in told.stdout
    assert found()["store", "digits:latest"]["problem"].endswith("missing")


def test_a_file_that_a_killed_process_left_is_a_warning(published: Store) -> None:
    left = published.root / "refs" / ".tmp-killed"
    left.write_bytes(b"12345")
    assert ("store", "temporary files") not in found()  # it may belong to one that runs
    os.utime(left, (0, 0))
    assert found()["store", "temporary files"]["value"] == "1, 5 bytes"
    assert run("doctor").exit_code == 0


def test_a_store_of_another_format_is_broken(published: Store) -> None:
    (published.root / "format_version").chmod(0o644)
    (published.root / "format_version").write_text("99")
    assert "store format '99'" in found()["store", "store"]["problem"]


def test_a_folder_that_cannot_be_one_is_broken(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv("ADAPTERHUB_STORE", str(tmp_path / "file" / "store"))
    assert "file is not a folder that can be written" in found()["store", "folder"]["problem"]


def test_a_broken_plugin_is_told_with_its_reason(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    install(tmp_path, "crashing", "raise RuntimeError('no such library')")
    monkeypatch.syspath_prepend(tmp_path)
    told = run("doctor")
    assert told.exit_code == 1
    assert "broken: verbs: crashing: RuntimeError: no such library" in told.stdout


@pytest.mark.parametrize(("token", "login"), [("hf_secretsecret", "yes"), ("", "no; ")])
def test_the_login_is_told_and_never_the_token(
    token: str, login: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_TOKEN", token)
    monkeypatch.setattr("huggingface_hub.constants.HF_TOKEN_PATH", str(tmp_path / "token"))
    shown = run("doctor", "--json").stdout
    assert "secret" not in shown
    assert {each["name"]: each for each in json.loads(shown)["findings"]}["login"]["value"].startswith(login)


def test_a_check_that_fails_is_a_finding_and_the_rest_goes_on() -> None:
    def failing() -> list[Finding]:
        raise ZeroDivisionError("oops")

    findings = examine({"sums": failing})
    assert findings[0] == Finding("sums", "sums", "", "broken", "ZeroDivisionError: oops")
    assert findings[-1].area == "hub"
