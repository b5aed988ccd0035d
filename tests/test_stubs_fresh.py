"""The committed stubs are what the protos give."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

REPOSITORY = Path(__file__).parents[1]


def stubs(root: Path) -> dict[str, str]:
    folder = root / "adapterhub" / "pb"
    return {str(path.relative_to(folder)): path.read_text() for path in folder.rglob("*_pb2*.py*") if path.is_file()}


def test_stubs_are_fresh(tmp_path: Path) -> None:
    subprocess.run([sys.executable, REPOSITORY / "protos" / "generate.py", tmp_path], check=True)
    committed = {name: text for name, text in stubs(REPOSITORY).items() if "__pycache__" not in name}
    assert stubs(tmp_path) == committed, "run `make protos` and commit adapterhub/pb"
