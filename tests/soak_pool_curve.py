"""More adapters in the working set than fit: time to first token grows gently. Run by `make soak` alone."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path

import pytest

from adapterhub.base import BaseModel
from adapterhub.testing import save_tiny_llama
from benchmarks.pool import Curve, ratios, table, write_adapters
from benchmarks.traffic import Traffic


@pytest.mark.parametrize(
    ("fit", "clients"),
    [
        pytest.param(16, 8, id="requests under way fit together"),
        pytest.param(8, 16, id="requests under way wait for others to end"),
    ],
)
def test_time_to_first_token_grows_gently_with_the_working_set(
    tmp_path: Path, fit: int, clients: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    # The native kernels make a step of this tiny base shorter than the loading of an adapter, which no real base's is:
    # the curve would be that of loading alone.
    monkeypatch.setenv("ADAPTERHUB_KERNELS", "torch")
    base = BaseModel.load(str(save_tiny_llama(tmp_path / "base", hidden=64)), quantization="int8")
    curve = Curve.of(base, write_adapters(base, tmp_path, 4 * fit), fit)
    traffic = Traffic(clients, requests=64, popularity="uniform")
    rounds = [curve.round(number, traffic) for number in range(15)]
    print(f"\n{fit} adapters fit, {clients} clients\n{table(rounds)}")
    assert all(once[2.0].evictions > 10 for once in rounds), "all of it was resident"
    found = ratios(rounds)
    assert found[2.0].seconds <= 3
    for one, next_ in pairwise(found.values()):
        before, after = sorted((one.seconds, next_.seconds))
        assert after <= 2 * before
