"""One training run by one driver, in a process of its own."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import asdict
from pathlib import Path

from benchmarks.contender import ROOT, ContenderError
from benchmarks.training.protocol import Spec, Trained


def run_driver(driver: str, spec: Spec, folder: Path, log: Path) -> Trained:
    """`driver` is a module beside this one; what it makes is left in `folder`, which is there and empty.

    Raises ContenderError, with the last line of what the driver said.
    """
    spec_file, result_file = folder / "spec.json", folder / "result.json"
    spec_file.write_text(json.dumps(asdict(spec)))
    with log.open("a") as said:
        ended = subprocess.run(  # noqa: S603
            [sys.executable, "-m", f"benchmarks.training.{driver}", spec_file, result_file],
            stdin=subprocess.DEVNULL,
            stdout=said,
            stderr=said,
            cwd=ROOT,
            env=os.environ | {"HF_HUB_OFFLINE": "1"},  # nothing of a run is told to anybody
            check=False,
        )
    if ended.returncode:
        last = (log.read_text().splitlines() or [""])[-1]
        raise ContenderError(f"{driver}: {last or ended.returncode}; see {log}")
    return Trained.read(result_file)
