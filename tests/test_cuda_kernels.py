"""The Triton kernels in Triton's interpreter, and compiled for devices that are not here. Nothing runs on a device.

The interpreter holds their mathematics, masks and addresses against torch, and each row against itself alone. It cuts
fp32 off to bf16, where a device rounds. That they compile, and to products of fp32, the compiler says.
"""

from __future__ import annotations

import importlib
import importlib.util
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch
from conftest import save_random_adapter
from test_ops import MIXES, made_op, segments
from torch import Tensor

from adapterhub.adapter import read_folder
from adapterhub.base import BaseModel
from adapterhub.engine.resident_adapter import prepare
from adapterhub.errors import UnavailableError
from adapterhub.op import LowRank, Scale
from adapterhub.ops import KernelOp, Updates
from adapterhub.ops.cuda import CudaKernels, load_cuda_kernels
from adapterhub.plugins import installed_methods
from adapterhub.testing.equality import greedy, recording_engine, run

triton = pytest.importorskip("triton", reason="Triton is made for Linux only")

pytestmark = pytest.mark.filterwarnings(
    "ignore:overflow encountered in exp"
)  # inf, as on a device: a gate that is shut

ROWS = "adapterhub.ops.cuda.rows"
CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def rows() -> Iterator[ModuleType]:
    """The kernels for the interpreter, which whoever imports them next does not get."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TRITON_INTERPRET", "1")
        patch.delitem(sys.modules, ROWS, raising=False)
        yield importlib.import_module(ROWS)
        patch.delitem(sys.modules, ROWS)


@pytest.fixture(autouse=True)
def _seed() -> None:
    torch.manual_seed(0)


@pytest.fixture
def kernels(rows: ModuleType) -> CudaKernels:
    return CudaKernels(rows, CPU)


def held(kernels: CudaKernels, op: KernelOp) -> Updates:
    """An adapter with that op at module 2, and another of a higher rank elsewhere."""
    elsewhere = LowRank(torch.ones(70, 3), torch.ones(5, 70))
    return kernels.hold(kernels.read({1: elsewhere, 2: op}), modules=4)


def exact(op: KernelOp, x: Tensor, y: Tensor) -> Tensor:
    fields: dict[str, Any] = {name: t.double() for name, t in vars(op).items() if isinstance(t, Tensor)}
    return replace(op, **fields).apply_(x.double(), y.double(), lambda rows: rows)


@pytest.mark.parametrize(
    ("mix", "width", "out"),
    [
        *((mix, 50, 33) for mix in MIXES.values()),
        (MIXES["with base rows"], 64, 64),
        (MIXES["uniform"], 20, 130),
        ([1] * 35 + [0] + [2] * 17 + [3], 1030, 16),
    ],
    ids=[*MIXES, "whole blocks, and outputs that are read", "several blocks of outputs", "several tiles and spans"],
)
def test_updates_are_the_ops_own_and_a_row_is_what_it_is_alone(
    kernels: CudaKernels, mix: list[int], width: int, out: int
) -> None:
    ops = {index: made_op(index, width, out) for index in set(mix) - {0}}
    updates = {index: held(kernels, op) for index, op in ops.items()}
    runs = segments(mix)
    x, y = torch.randn(1, len(mix), width), torch.randn(1, len(mix), out)
    found, nothing = y.clone(), y.clone()
    kernels.update_(
        [(2, x, found), (3, x, nothing)], kernels.segments([(updates[i], start, stop) for i, start, stop in runs])
    )
    assert torch.equal(nothing, y), "no adapter acts there"
    expected = y[0].double()
    for index, start, stop in runs:
        expected[start:stop] = exact(ops[index], x[0, start:stop], y[0, start:stop])
    torch.testing.assert_close(found[0].double(), expected, rtol=1e-5, atol=1e-3)
    base_rows = [not index for index in mix]
    assert torch.equal(found[0, base_rows], y[0, base_rows])
    for row in {0, len(mix) // 3, len(mix) // 2, len(mix) - 1}:
        if mix[row]:
            single = y[:, row : row + 1].clone()
            kernels.update_([(2, x[:, row : row + 1], single)], kernels.segments([(updates[mix[row]], 0, 1)]))
            assert torch.equal(single[0, 0], found[0, row])


@pytest.mark.parametrize(("dtype", "close"), [(torch.float16, 2**-10), (torch.bfloat16, 2**-7)])
def test_rows_of_16_bits_are_computed_in_32_and_rounded_once(
    kernels: CudaKernels, dtype: torch.dtype, close: float
) -> None:
    op, into = made_op(2, 50, 33), Scale(into=torch.randn(50))
    runs = kernels.segments([(held(kernels, op), 1, 5)])
    x, y = torch.randn(1, 6, 50).to(dtype), torch.randn(1, 6, 33).to(dtype)
    found, mixed = y.clone(), y.float()
    kernels.update_([(2, x, found)], runs)
    kernels.update_([(2, x, mixed)], runs)
    expected = exact(op, x[0, 1:5], y[0, 1:5])
    torch.testing.assert_close(found[0, 1:5].double(), expected, rtol=close, atol=1e-4)
    torch.testing.assert_close(mixed[0, 1:5].double(), expected, rtol=1e-5, atol=1e-4)
    scaled = x.clone()
    kernels.scale_rows_(2, scaled, kernels.segments([(held(kernels, into), 1, 5)]))
    torch.testing.assert_close(scaled[0, 1:5].double(), exact(into, x[0, 1:5], y), rtol=close, atol=1e-6)
    assert torch.equal(scaled[0, [0, 5]], x[0, [0, 5]])


def test_what_is_not_finite_stays_in_its_row(kernels: CudaKernels) -> None:
    x, y = torch.randn(1, 3, 50), torch.randn(1, 3, 33)
    x[0, 1] = torch.nan
    runs = kernels.segments([(held(kernels, made_op(2, 50, 33)), 0, 3)])
    kernels.update_([(2, x, y)], runs)
    assert y[0].isfinite().all(-1).tolist() == [True, False, True]


def test_an_adapter_takes_its_own_ranks_room_and_bits(kernels: CudaKernels) -> None:
    small, large = LowRank(torch.ones(2, 20), torch.ones(7, 2)), LowRank(torch.rand(9, 20), torch.rand(7, 9))
    read = [kernels.read({0: op}) for op in (small, large)]
    assert [a.dtype for each in read for a in each[0].tensors()] == [torch.bfloat16] * 2 + [torch.float32] * 2
    updates = [kernels.hold(each, modules=1) for each in read]
    tiles = kernels.segments([(updates[0], 3, 21), (updates[1], 21, 22)])
    assert tiles.table[:, 1:].tolist() == [[3, 19, 0, 2], [19, 21, 32, 2], [21, 22, 36, 9]]
    assert (tiles.hidden, tiles.rank) == (18 * 2 + 9, 9)


def test_tiles_that_stay_take_those_of_any_step(kernels: CudaKernels) -> None:
    """More tiles, ranks and room than there are, and what another step left there, change no bit."""
    mixes = ([1, 1, 0, 2, 2, 3], [2, 0], [3, 3, 1])
    updates = {index: held(kernels, made_op(index, 50, 33)) for index in (1, 2, 3)}
    room = kernels.room(8, 80, 4, reads_output=True)
    for mix in mixes:
        runs = kernels.segments([(updates[index], start, stop) for index, start, stop in segments(mix)])
        x, y = torch.randn(1, 8, 50), torch.randn(1, 8, 33)
        found, expected, scaled = y.clone(), y.clone(), x.clone()
        kernels.update_([(2, x, expected)], runs)
        room.fill_(runs)
        kernels.update_([(2, x, found)], room)
        assert torch.equal(found, expected)
        kernels.scale_rows_(1, scaled, room)
        assert torch.equal(scaled, x), "none of them does"


def test_an_engine_answers_with_them_as_with_torch(kernels: CudaKernels, tiny_base: Path, tmp_path: Path) -> None:
    base = replace(BaseModel.load(str(tiny_base), quantization="none"), kernels=None, adapter_kernels=None)
    known = {}
    for index, method in enumerate(("lora", "bottleneck", "ia3")):
        made = save_random_adapter(tmp_path / method, method, base.shape, seed=index)
        known[f"sha256:{index}"] = replace(read_folder(made), digest=f"sha256:{index}")
    ours = replace(base, adapter_kernels=kernels)
    for adapter in known.values():
        resident = prepare(adapter, adapter.read_tensors(), installed_methods(), ours)
        assert resident.native | resident.fronts == resident.modules.keys(), "all of it is theirs"
    requests = [greedy(range(5, 9 + index), name, 3) for index, name in enumerate(["", *known])]
    answers = []
    for each in (base, ours):
        with recording_engine(each, known) as (engine, recorder):
            answers.append(run(engine, recorder, requests))
    for one, other in zip(*answers, strict=True):
        assert one.tokens == other.tokens
        torch.testing.assert_close(one.logits, other.logits, rtol=1e-4, atol=1e-4)


def test_kernels_are_used_where_they_give_what_torch_gives(rows: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    assert isinstance(load_cuda_kernels(CPU), CudaKernels)
    monkeypatch.setattr(rows, "RANKS", triton.language.constexpr(8))  # half of what a program is to compute
    with pytest.raises(UnavailableError, match="not torch's on this device"):
        load_cuda_kernels(CPU)


def test_without_triton_or_a_device_torch_computes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TRITON_INTERPRET", "1")
    with pytest.raises(UnavailableError, match="interpreter cannot read"):
        load_cuda_kernels(torch.device("cuda"))
    monkeypatch.delenv("TRITON_INTERPRET")
    monkeypatch.setitem(sys.modules, ROWS, compiled_rows())
    with pytest.raises(UnavailableError, match=r"^Triton: RuntimeError: 0 active drivers"):
        load_cuda_kernels(CPU)
    monkeypatch.delitem(sys.modules, ROWS)
    monkeypatch.setitem(sys.modules, "triton", None)
    with pytest.raises(UnavailableError, match=r"^no Triton: "):
        load_cuda_kernels(CPU)


def compiled_rows() -> ModuleType:
    """The kernels for the compiler."""
    spec = importlib.util.find_spec(ROWS)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


TYPES = {"tiles": "*i64", "hidden": "*fp32", "x": "*bf16", "y": "*bf16"}


@pytest.mark.parametrize(("name", "capability"), [("shrink", 80), ("expand", 90), ("scale_rows", 75)])
def test_they_compile_for_devices_and_multiply_in_fp32(
    name: str, capability: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from triton.backends.compiler import GPUTarget
    from triton.compiler import ASTSource

    monkeypatch.delenv("TRITON_INTERPRET", raising=False)
    monkeypatch.setenv("TRITON_CACHE_DIR", str(tmp_path))
    kernel = getattr(compiled_rows(), name)
    source = ASTSource(kernel, {argument: TYPES.get(argument, "i32") for argument in kernel.arg_names})
    made = triton.compile(source, target=GPUTarget("cuda", capability, 32), options={"enable_fp_fusion": True})
    assert made.asm["cubin"]
    assert "mma" not in made.asm["ptx"]
    assert "tf32" not in made.asm["ptx"]
