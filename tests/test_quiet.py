"""Of the libraries' log lines, only the one that means nothing here is dropped."""

from __future__ import annotations

import logging

import pytest

import adapterhub  # noqa: F401  silences on import


def test_only_the_missing_kernel_is_dropped(caplog: pytest.LogCaptureFixture) -> None:
    log = logging.getLogger("bitsandbytes.backends.cpu.ops")
    log.warning("Failed to load CPU gemm_4bit_forward from kernels-community: %s.", "no kernels")
    log.warning("something else")
    assert [record.getMessage() for record in caplog.records] == ["something else"]
