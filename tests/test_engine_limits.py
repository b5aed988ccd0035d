"""What an engine may hold: derived from free memory where not given, and refused beyond, with the numbers."""

from __future__ import annotations

import resource
from pathlib import Path

import pytest
import torch
from test_engine import Inbox, options

from adapterhub.base import BaseModel
from adapterhub.engine import Engine, Request, limits
from adapterhub.engine.block_table import BLOCK_TOKENS
from adapterhub.engine.kv_cache import KVCache
from adapterhub.errors import ConfigError, InvalidInputError

TOKEN_BYTES = 2 * 3 * 2 * 8 * 4
"""Keys and values, 3 layers, 2 heads of 8, fp32."""


@pytest.fixture(scope="module")
def base(tiny_base: Path) -> BaseModel:
    return BaseModel.load(str(tiny_base), quantization="none")


def of(base: BaseModel, **given: int) -> limits.Limits:
    return limits.Limits.of(base, **{"max_requests": 8, "max_sequences": 4, "step_tokens": 16, **given})


def free(monkeypatch: pytest.MonkeyPatch, nbytes: int) -> None:
    monkeypatch.setattr(limits, "free_bytes", lambda device: nbytes)


def test_defaults_are_shares_of_free_memory(base: BaseModel, monkeypatch: pytest.MonkeyPatch) -> None:
    free(monkeypatch, 4 * 100 * TOKEN_BYTES)
    found = of(base)
    assert (found.kv_tokens, found.kv_bytes) == (96, 96 * TOKEN_BYTES), "a quarter, in whole blocks of 16"
    assert found.adapter_bytes == found.host_adapter_bytes == 50 * TOKEN_BYTES
    assert (found.context, found.max_length, found.bound) == (512, 96, "all KV blocks, which hold 96")


def test_no_more_keys_and_values_than_the_sequences_of_a_step_can_use(
    base: BaseModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    free(monkeypatch, 1 << 40)
    found = of(base, max_context=100)
    assert (found.kv_tokens, found.context, found.bound) == (400, 100, "the context of 100")


def test_more_than_is_free_is_refused_with_the_numbers(base: BaseModel, monkeypatch: pytest.MonkeyPatch) -> None:
    free(monkeypatch, 100 * TOKEN_BYTES)
    with pytest.raises(ConfigError, match=f"kv_tokens: 160 need {160 * TOKEN_BYTES} bytes, .* are free; at most 100"):
        of(base, kv_tokens=160)


@pytest.mark.parametrize("name", ["adapter_bytes", "host_adapter_bytes"])
def test_more_room_for_adapters_than_is_free_is_refused_with_the_numbers(
    base: BaseModel, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    free(monkeypatch, 100 * TOKEN_BYTES)
    with pytest.raises(ConfigError, match=f"^{name}: 90000000 bytes, {100 * TOKEN_BYTES} are free"):
        of(base, **{name: 90_000_000})


def test_free_memory_is_what_the_container_allows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "CGROUP", tmp_path)
    cpu = torch.device("cpu")
    machine = limits.free_bytes(cpu)
    for name, text in (("memory.max", "9000\n"), ("memory.current", "5000\n"), ("memory.stat", "inactive_file 1000\n")):
        (tmp_path / name).write_text(text)
    assert limits.free_bytes(cpu) == 5000 < machine
    (tmp_path / "memory.max").write_text("max\n")
    assert limits.free_bytes(cpu) > 5000


def test_a_request_beyond_all_blocks_is_refused(base: BaseModel) -> None:
    with Engine(base, kv_tokens=64) as engine:
        with pytest.raises(InvalidInputError, match=r"10 prompt \+ 55 new tokens are 65, over all KV blocks, .* 64$"):
            engine.submit(Request((5,) * 10, sampling=options(55)), Inbox())
        assert len(engine.generate([Request((5,) * 10, sampling=options(54))])[0].token_ids) == 54
        engine.check_integrity()


def test_room_that_is_not_written_takes_no_memory(base: BaseModel) -> None:
    blocks = (1 << 30) // (TOKEN_BYTES * BLOCK_TOKENS)
    before = resident_bytes()
    cache = KVCache(base.shape, blocks, dtype=torch.float32, device=torch.device("cpu"))
    assert not cache.keys[0][-1].any()
    assert resident_bytes() - before < 1 << 28


def resident_bytes() -> int:
    return int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize()
