"""More adapters in the working set than fit: time to first token grows gently. Run by `make soak` alone."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path

from adapterhub.base import BaseModel
from adapterhub.testing import save_tiny_llama
from benchmarks.pool import Curve, ratios, table, write_adapters
from benchmarks.traffic import Traffic


def test_time_to_first_token_grows_gently_with_the_working_set(tmp_path: Path) -> None:
    base = BaseModel.load(str(save_tiny_llama(tmp_path / "base", hidden=64)), quantization="int8")
    curve = Curve.of(base, write_adapters(base, tmp_path, 64), fit=16)
    rounds = [curve.round(number, Traffic(clients=8, requests=64, popularity="uniform")) for number in range(5)]
    print(f"\n{table(rounds)}")
    assert all(once[2.0].evictions > 10 for once in rounds), "all of it was resident"
    found = ratios(rounds)
    assert max(found[2.0]) <= 3, "in seconds, in steps"
    for one, next_ in pairwise(found.values()):
        for before, after in zip(one, next_, strict=True):
            assert max(before, after) <= 2 * min(before, after)
