"""A run's report in a real browser: drawn at two widths, light and dark, and running nothing of what it shows."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from reports import ATTACK, full_report
from running import HERE, browser_environment, run_node

from adapterhub.report import write_report
from adapterhub.testing import save_tiny_llama


@pytest.fixture(scope="module")
def unpacked(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    return browser_environment(tmp_path_factory.mktemp("browser"))


def looked_at(page: Path, unpacked: dict[str, str]) -> dict[str, Any]:
    ended = run_node(HERE / "browser.cjs", str(page), str(page.parent / "seen"), environment=unpacked)
    found: dict[str, Any] = json.loads(ended.stdout)
    return found


def assert_sound(found: dict[str, Any], page: Path) -> None:
    """It asked for nothing but itself, complained of nothing, and shows its pictures whole at every width."""
    assert found["complaints"] == []
    assert set(found["requests"]) == {page.as_uri()}
    assert len(found["views"]) == 4
    for name, view in found["views"].items():
        assert view["overflow"] <= 0, name
        assert view["scripts"] == 0
        assert view["lines"], name
        assert view["bars"], name
        for box in (*view["lines"], *view["bars"], *view["dots"]):
            assert box["width"] > 1, name
            assert box["height"] > 1, name
        assert all(section["height"] > 60 for section in view["sections"]), name
        assert view["smallest"] >= 9, name
    assert len({view["background"] for view in found["views"].values()}) == 2


def test_a_real_runs_report_is_drawn(tmp_path: Path, unpacked: dict[str, str]) -> None:
    base, data, folder = save_tiny_llama(tmp_path / "tiny"), tmp_path / "data.jsonl", tmp_path / "run"
    pairs = [{"prompt": f"{number}? {ATTACK}", "completion": ATTACK} for number in range(24)]
    data.write_text("".join(json.dumps(pair) + "\n" for pair in pairs))
    words = ["--name", "orders", "--base", str(base), "--data", str(data), "--run-folder", str(folder)]
    trained = subprocess.run([sys.executable, "-m", "adapterhub", "train", *words], capture_output=True, text=True)
    assert trained.returncode == 0, trained.stderr
    found = looked_at(folder / "report.html", unpacked)
    assert_sound(found, folder / "report.html")
    view = found["views"]["light 1200"]
    assert view["title"] == "orders:latest: training report"
    assert ATTACK in view["text"]


def test_a_report_with_everything_in_it_is_drawn(tmp_path: Path, unpacked: dict[str, str]) -> None:
    page = write_report(full_report(), tmp_path)
    found = looked_at(page, unpacked)
    assert_sound(found, page)
    view = found["views"]["dark 375"]
    assert [section["id"] for section in view["sections"]] == ["losses", "evaluation", "forgetting", "samples", "facts"]
    assert len(view["lines"]) == 3
    assert "fine-tuning gains 45 points" in view["text"]
    assert view["title"] == "team/orders:v1: training report"
