"""The decisive test on quantized bases: a row of a mixed batch is what the same request is alone.

On int8 it is the same to the bit, by the native kernels as by torch. nf4 computes its matmuls in fp32 and is held to
fp32's tolerance.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Literal

import pytest
from cases import Case, smollm2_case, tiny_case

from adapterhub.testing import save_tiny_llama
from adapterhub.testing.equality import Row, assert_equal, recording_engine, run

TOLERANCE = {"int8": 0.0, "nf4": 1e-4}
STEP_TOKENS = 40


@pytest.fixture(scope="module", params=["tiny-int8", "tiny-int8-torch", "tiny-nf4", "smollm2-int8"])
def case(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Case:
    size, quantization, *kernels = request.param.split("-")
    folder = tmp_path_factory.mktemp(request.param)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("ADAPTERHUB_KERNELS", kernels[0] if kernels else "native")
        if size == "smollm2":
            return smollm2_case(folder, quantization)
        return tiny_case(save_tiny_llama(folder / "base", hidden=64), folder, quantization)


@pytest.fixture(scope="module")
def alone(case: Case) -> list[Row]:
    """Each request run with no neighbour."""
    with recording_engine(case.base, case.adapters) as (engine, recorder):
        return [run(engine, recorder, [request])[0] for request in case.requests]


@pytest.mark.parametrize("order", [1, -1])
def test_a_row_of_a_mixed_batch_equals_the_request_alone(case: Case, alone: list[Row], order: Literal[1, -1]) -> None:
    tolerance = TOLERANCE[case.base.quantization]
    with recording_engine(case.base, case.adapters, step_tokens=STEP_TOKENS) as (engine, recorder):
        report = assert_equal(engine, recorder, case.requests[::order], alone[::order], tolerance=tolerance)
        stats = engine.stats()
    print(f"{report.tokens} tokens, {report.ties} ties, logits differ by at most {report.drift:.1e}")
    assert stats.mixed_method_steps > 10


def test_every_adapter_moves_the_logits(case: Case, alone: list[Row]) -> None:
    with recording_engine(case.base, {}) as (engine, recorder):
        bare = run(engine, recorder, [replace(request, adapter="") for request in case.requests])
    for request, row, base_row in zip(case.requests, alone, bare, strict=True):
        moved = float((row.logits[0] - base_row.logits[0]).abs().max())
        assert moved >= 0.05 if request.adapter else moved <= TOLERANCE[case.base.quantization]
