"""A process killed at any point, or at any moment: what was acknowledged is there, whole, and the store goes on."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from conftest import save_stub_adapter

DRIVER = Path(__file__).with_name("store_crash.py")


@pytest.fixture
def work(tmp_path: Path) -> Path:
    """A folder with three adapters."""
    for n in range(3):
        save_stub_adapter(tmp_path / "adapters" / str(n), value=n)
    return tmp_path


def drive(*words: object) -> list[str]:
    done = subprocess.run([sys.executable, DRIVER, *map(str, words)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()


@pytest.mark.parametrize(
    ("verb", "reached"),
    [
        (
            "publish",
            [
                "fsync blobs/sha256/.tmp",
                "os.rename blobs/sha256/<hex>",
                "fsync blobs/sha256",
                "flock",
                "fsync log/_/digits/latest",
                "os.rename refs/_/digits/latest",
                "fsync refs/_/digits",
            ],
        ),
        ("publish again", ["os.utime blobs/sha256/<hex>", "os.rename refs/_/digits/latest"]),
        ("first publish", ["os.mkdir log/new", "os.rename log/new/name/latest", "os.rename refs/new/name/latest"]),
        ("rollback", ["fsync log/_/digits/latest", "os.rename refs/_/digits/latest"]),
        ("rm", ["fsync log/_/digits/latest", "os.remove refs/_/digits/latest", "os.rmdir refs/_/digits"]),
        ("gc", ["flock", "os.remove blobs/sha256/<hex>"]),
        ("ls", ["fsync .tmp", "os.rename index.sqlite"]),
    ],
)
def test_killed_at_any_point_a_verb_leaves_a_sound_store(work: Path, verb: str, reached: list[str]) -> None:
    assert set(reached) <= set(drive("points", work, verb))


def test_killed_at_any_moment_processes_leave_a_sound_store(work: Path, count: Callable[[int, int], int]) -> None:
    seed = 20261124
    kills = count(20, 200)
    (acknowledged,) = drive("random", work, kills, seed)
    print(f"seed {seed}: {acknowledged} changes acknowledged by processes killed {kills} times, two at once")
    assert int(acknowledged) > 0
