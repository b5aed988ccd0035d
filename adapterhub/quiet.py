"""Log lines of libraries that would alarm a user for nothing. Needs no torch."""

from __future__ import annotations

import logging


def silence_missing_kernel() -> None:
    """Drop one warning that bitsandbytes logs when it is imported on a CPU with AVX512-BF16.

    It looks there for a downloadable 4-bit matmul that we do not use: it has no backward, and its
    numbers would depend on the CPU.
    """
    logging.getLogger("bitsandbytes.backends.cpu.ops").addFilter(_is_not_the_missing_kernel)


def _is_not_the_missing_kernel(record: logging.LogRecord) -> bool:
    return "gemm_4bit_forward" not in record.msg
