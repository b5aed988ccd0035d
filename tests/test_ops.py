"""The native kernels: what torch computes, and every row to the bit what it is alone.

Each is compiled as for this processor and as for one without AVX-512, whose code is another.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from adapterhub import OpActivation
from adapterhub.base import Int8Linear
from adapterhub.base.int8 import quantize_rows
from adapterhub.errors import UnavailableError
from adapterhub.op import Bottleneck, LowRank, Scale
from adapterhub.ops import (
    ChunkStruct,
    KernelOp,
    Kernels,
    Layer,
    Matrices,
    Matrix,
    Segments,
    Updates,
    chosen_kernels,
    pack_int8,
    unpack_int8,
    updates_of,
)
from adapterhub.ops.compiled import compiled, find_compiler

WIDTHS = [(16, 16), (48, 40), (50, 33), (64, 192)]
"""Into a module and out of it: whole vectors of 16, and not."""


@pytest.fixture(scope="module", params=["native", "avx2"])
def kernels(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Kernels:
    if request.param == "native":
        chosen = chosen_kernels()
        assert chosen.kernels is not None, chosen.reason
        return chosen.kernels
    if not torch.cpu.get_capabilities().get("avx2"):
        pytest.skip("no x86 processor")
    return Kernels.load(compiled(tmp_path_factory.mktemp("kernels"), ["-march=x86-64-v3"]))


@pytest.fixture
def threads() -> Iterator[int]:
    """More than one, between which a call is divided."""
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    yield 2
    torch.set_num_threads(before)


def rows(count: int, width: int, seed: int = 0) -> Tensor:
    """Rows of very different sizes; one is all zeros."""
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(count, width, generator=generator) * 10.0 ** torch.randint(-3, 4, (count, 1), generator=generator)
    x[count // 2] *= 0 if count > 3 else 1
    return x


def alone(compute: Callable[[Tensor], Tensor], x: Tensor) -> Tensor:
    """What each row gives by itself."""
    return torch.cat([compute(row.unsqueeze(0).contiguous()) for row in x])


@pytest.mark.parametrize(("width", "out"), WIDTHS)
@pytest.mark.parametrize("count", [1, 3, 13, 31])
def test_int8_is_torchs_to_the_bit(kernels: Kernels, width: int, out: int, count: int) -> None:
    x = rows(count, width)
    q = kernels.quantize(x)
    values, scale = quantize_rows(x)
    assert torch.equal(q.values[:, :width], values)
    assert torch.equal(q.scale, scale[:, 0])
    assert torch.equal(q.sum, values.sum(-1, dtype=torch.int32))
    assert not q.values[:, width:].any()
    if not kernels.tile:
        return
    layers = [Int8Linear.from_linear(nn.Linear(width, out, bias=bias)) for bias in (True, False)]
    matrices = [Matrix(pack_int8(layer.weight_q, kernels.tile), layer.scale, layer.bias) for layer in layers]
    for layer, y in zip(layers, kernels.int8_matmul(q, Matrices.of(width, *matrices)), strict=True):
        with torch.no_grad():
            assert torch.equal(y, layer(x))


@pytest.mark.parametrize(("width", "out"), WIDTHS)
def test_a_packed_weight_can_be_unpacked(width: int, out: int) -> None:
    weight = torch.randint(-127, 128, (out, width), dtype=torch.int8)
    assert torch.equal(unpack_int8(pack_int8(weight, 32), out, width), weight)


def test_a_row_that_is_not_finite_stays_alone(kernels: Kernels) -> None:
    if not kernels.tile:
        pytest.skip("torch multiplies int8 here")
    layer = Int8Linear.from_linear(nn.Linear(48, 40), kernels)
    x = torch.stack([rows(1, 48)[0], torch.full((48,), torch.nan), torch.full((48,), -torch.inf)])
    with torch.no_grad():
        y = layer(x)
        assert torch.equal(y[:1], layer(x[:1]))
    assert not y[1:].isfinite().any()


@pytest.mark.parametrize("width", [16, 50, 576])
def test_norms_and_gates_follow_their_equations(kernels: Kernels, width: int) -> None:
    h, delta, weight = rows(9, width), rows(9, width, 1), torch.rand(width)
    total, x, q = kernels.add_norm(h, delta, weight, 1e-5, quantize=True)
    assert torch.equal(total, h + delta)
    torch.testing.assert_close(x, functional.rms_norm(total, (width,), weight, 1e-5))
    assert q is not None
    assert torch.equal(q.values[:, :width], quantize_rows(x)[0])
    assert torch.equal(x, alone(lambda row: kernels.add_norm(row, None, weight, 1e-5, quantize=False)[1], total))
    gate, up = rows(9, width, 2), rows(9, width, 3)
    x, q = kernels.silu_gate(gate, up, quantize=True)
    torch.testing.assert_close(x, functional.silu(gate) * up, rtol=1e-5, atol=1e-30)
    assert q is not None
    assert torch.equal(q.scale, quantize_rows(x)[1][:, 0])


def test_a_gate_at_the_edges(kernels: Kernels) -> None:
    gate = torch.tensor([[-torch.inf, -1e30, -90.0, -86.9, 0.0, 87.9, 90.0, 1e30, torch.nan]])
    x = kernels.silu_gate(gate, torch.ones_like(gate), quantize=False)[0]
    expected = functional.silu(gate)
    assert torch.equal(x[0, 3:].isnan(), expected[0, 3:].isnan())
    torch.testing.assert_close(x[0, 1:8], expected[0, 1:8], rtol=1e-5, atol=1e-35)


MIXES: dict[str, list[int]] = {
    "identical": [1] * 13,
    "distinct": list(range(1, 14)),
    "uniform": [1 + index % 4 for index in range(13)],
    "zipf": [1] * 7 + [2] * 3 + [3, 4, 5],
    "skewed": [1] * 12 + [2],
    "with base rows": [0, 0, 0, 1, 1, 0, 2, 3, 3, 3, 3, 3, 0],
    "one row": [1],
}
"""The adapter of each row; 0 is the base."""


def made_op(index: int, width: int, out: int) -> KernelOp:
    """Ops of every kind: of mixed ranks, some with a scale and a shift, some whose numbers fit into 16 bits."""
    generator = torch.Generator().manual_seed(index)

    def drawn(*size: int) -> Tensor:
        numbers = torch.randn(*size, generator=generator)
        return numbers.to(NARROW[index % 3]).float()

    rank = RANKS[index % 5]
    if index == 4:
        return Scale(behind=drawn(out))
    if index % 2:
        reads_output = width == out
        return Bottleneck(
            drawn(rank, width), drawn(out, rank), drawn(rank), drawn(out), ACTIVATIONS[index // 2 % 4], reads_output
        )
    scale = drawn(out) if index % 3 == 0 else None
    shift = drawn(out) if index % 4 == 0 else None
    return LowRank(drawn(rank, width), drawn(out, rank), scale, shift)


NARROW = (torch.float32, torch.bfloat16, torch.float16)
ACTIVATIONS: tuple[OpActivation, ...] = ("relu", "silu", "gelu", "gelu_tanh")
RANKS = (1, 3, 8, 16, 64)


def segments(mix: list[int]) -> list[tuple[int, int, int]]:
    """Runs of rows of one adapter: adapter, first row, row behind the last."""
    starts = [row for row in range(len(mix)) if row == 0 or mix[row] != mix[row - 1]]
    return [(mix[a], a, b) for a, b in zip(starts, [*starts[1:], len(mix)], strict=True) if mix[a]]


@pytest.mark.parametrize("mix", MIXES.values(), ids=MIXES)
@pytest.mark.parametrize(("width", "out"), WIDTHS)
def test_updates_are_the_ops_own(kernels: Kernels, threads: int, mix: list[int], width: int, out: int) -> None:
    ops = {index: made_op(index, width, out) for index in set(mix) - {0}}
    updates = {index: Updates.of(updates_of({2: op}, float16=True), modules=5) for index, op in ops.items()}
    runs = segments(mix)
    x, y = torch.randn(len(mix), width), torch.randn(len(mix), out)
    found, nothing = y.clone(), y.clone()
    native = Segments.of([(updates[index], start, stop) for index, start, stop in runs])
    kernels.update_([(2, x, found), (3, x, nothing)], native)
    assert torch.equal(nothing, y), "no adapter acts there"
    expected = y.double()
    for index, start, stop in runs:
        fields: dict[str, Any] = {name: t.double() for name, t in vars(ops[index]).items() if isinstance(t, Tensor)}
        exact = replace(ops[index], **fields)
        expected[start:stop] = exact.apply_(x[start:stop].double(), expected[start:stop], lambda rows: rows)
    torch.testing.assert_close(found.double(), expected, rtol=1e-5, atol=3e-4)
    assert torch.equal(found[[row for row, index in enumerate(mix) if not index]], y[[i == 0 for i in mix]])
    for row, index in enumerate(mix):
        if index:
            single = y[row : row + 1].clone()
            kernels.update_([(2, x[row : row + 1], single)], Segments.of([(updates[index], 0, 1)]))
            assert torch.equal(single[0], found[row])


@pytest.mark.parametrize("dtype", NARROW)
def test_numbers_of_16_bits_take_half_the_memory(dtype: torch.dtype) -> None:
    numbers = torch.randn(3, 20).to(dtype).float()
    (made,) = updates_of({0: LowRank(numbers, torch.randn(7, 3))}, float16=True).values()
    assert made.a is not None
    assert made.b is not None
    assert made.a.dtype == dtype
    assert torch.equal(made.a.float().sort()[0], numbers.flatten().sort()[0])
    assert made.b.dtype == torch.float32


def layouts(numbers: Tensor) -> dict[str, Tensor]:
    """The same numbers [out, r] in every order that a method may leave them in."""
    return {
        "dense": numbers,
        "turned": numbers.T.contiguous().T,
        "part of more": torch.cat([numbers, numbers], dim=1)[:, : numbers.shape[1]],
        "every other": torch.stack([numbers, numbers], dim=2).flatten(1)[:, ::2],
    }


@pytest.mark.parametrize(("width", "out"), [*WIDTHS, (0, 5), (20, 7)])
def test_the_kernels_pack_updates_as_torch_does(kernels: Kernels, width: int, out: int) -> None:
    ops: dict[Any, KernelOp] = {index: made_op(index, width, out) for index in range(15)}
    for row, value in enumerate((torch.nan, torch.inf, -torch.inf, -0.0, 1e-45, 2.0**-24, 65520.0)):
        numbers = torch.ones(3, 20)
        numbers[row % 3, 5 + 2 * row] = value
        ops |= {(row, name): LowRank(b.T, b) for name, b in layouts(numbers.T).items()}
    ops["again"] = replace(ops[0])
    expected, found = updates_of(ops, float16=kernels.float16), kernels.read(ops)
    assert [*found] == [*expected]
    for key, update in expected.items():
        own = found[key].named()
        assert own.keys() == update.named().keys()
        nothing: dict[str, Any] = dict.fromkeys(own)
        assert vars(replace(found[key], **nothing)) == vars(replace(update, **nothing))
        for name, tensor in update.named().items():
            assert own[name].dtype == tensor.dtype, f"{key}.{name}"
            assert torch.equal(own[name].view(torch.uint8), tensor.view(torch.uint8)), f"{key}.{name}"
            assert own[name].untyped_storage().nbytes() == tensor.untyped_storage().nbytes()
    assert found["again"].named() == found[0].named()


def test_numbers_the_kernels_do_not_pack_are_packed_by_torch(kernels: Kernels) -> None:
    op = LowRank(torch.randn(3, 20, dtype=torch.float64), torch.randn(7, 3, dtype=torch.float64))
    (found,) = kernels.read({0: op}).values()
    assert found.a is not None
    assert torch.equal(found.a.sort()[0], op.a.float().flatten().sort()[0])


def test_rows_are_scaled_on_their_way_into_a_module(kernels: Kernels) -> None:
    scale = torch.randn(33)
    updates = Updates.of(updates_of({1: Scale(into=scale)}, float16=True), modules=2)
    x = torch.randn(5, 33)
    found = x.clone()
    kernels.scale_rows_(1, found, Segments.of([(updates, 1, 3)]))
    expected = x.clone()
    expected[1:3] *= scale
    assert torch.equal(found, expected)


class Sequences:
    """Sequences whose blocks lie scattered in one layer's cache, and their rows of a step."""

    def __init__(self, lengths: list[int], counts: list[int], heads: int, kv_heads: int, dim: int) -> None:
        rng, generator = random.Random(0), torch.Generator().manual_seed(0)
        blocks = [-(-length // 16) for length in lengths]
        order = rng.sample(range(sum(blocks) + 3), sum(blocks))
        self.lengths, self.counts = lengths, counts
        self.layer = Layer(
            torch.full((sum(blocks) + 3, kv_heads, dim, 16), torch.nan),
            torch.full((sum(blocks) + 3, kv_heads, 16, dim), torch.nan),
        )
        self.places = []
        for count in blocks:
            own, order = order[:count], order[count:]
            self.places.append(torch.cat([torch.arange(block * 16, block * 16 + 16) for block in own]))
        self.k = [torch.randn(length, kv_heads, dim, generator=generator) for length in lengths]
        self.v = [torch.randn(length, kv_heads, dim, generator=generator) for length in lengths]
        self.q = torch.randn(sum(counts), heads, dim, generator=generator)

    def store(self, kernels: Kernels) -> None:
        for places, k, v in zip(self.places, self.k, self.v, strict=True):
            kernels.store(self.layer, torch.zeros(len(k), *self.q.shape[1:]), k, v, places[: len(k)])

    def attend(self, kernels: Kernels, **options: Any) -> Tensor:
        chunks, row = (ChunkStruct * len(self.lengths))(), 0
        for index, (length, count) in enumerate(zip(self.lengths, self.counts, strict=True)):
            chunks[index] = ChunkStruct(self.places[index].data_ptr(), length - count, length, row)
            row += count
        return kernels.attend(self.layer, self.q, chunks, scale=0.3, **options)

    def attend_alone(self, kernels: Kernels, **options: Any) -> Tensor:
        """One row a call."""
        out, row = [], 0
        for index, (length, count) in enumerate(zip(self.lengths, self.counts, strict=True)):
            for position in range(length - count, length):
                chunk = (ChunkStruct * 1)(ChunkStruct(self.places[index].data_ptr(), position, position + 1, 0))
                q = self.q[row : row + 1].contiguous()
                out.append(kernels.attend(self.layer, q, chunk, scale=0.3, **options))
                row += 1
        return torch.cat(out)

    def expected(self, window: int | None, softcap: float | None, sinks: Tensor | None) -> Tensor:
        """In fp64, by the equation."""
        out, row = [], 0
        for k, v, length, count in zip(self.k, self.v, self.lengths, self.counts, strict=True):
            share = self.q.shape[1] // k.shape[1]
            k, v = (t.double().repeat_interleave(share, dim=1) for t in (k, v))
            for position in range(length - count, length):
                first = 0 if window is None else max(0, position + 1 - window)
                scores = torch.einsum("hd,phd->hp", self.q[row].double(), k[first : position + 1]) * 0.3
                if softcap is not None:
                    scores = torch.tanh(scores / softcap) * softcap
                if sinks is not None:
                    scores = torch.cat([scores, sinks.double().unsqueeze(1)], dim=1)
                weights = scores.softmax(-1)[:, : position + 1 - first]
                out.append(torch.einsum("hp,phd->hd", weights, v[first : position + 1]))
                row += 1
        return torch.stack(out)


@pytest.mark.parametrize(("heads", "kv_heads", "dim"), [(9, 3, 64), (4, 4, 16), (2, 1, 8), (14, 1, 40), (6, 2, 128)])
@pytest.mark.parametrize("options", [{}, {"window": 7}, {"softcap": 5.0}, {"sinks": True}], ids=str)
def test_attention_is_the_equations(
    kernels: Kernels, threads: int, heads: int, kv_heads: int, dim: int, options: dict[str, Any]
) -> None:
    sequences = Sequences([1, 16, 17, 50, 33, 70], [1, 1, 1, 1, 20, 70], heads, kv_heads, dim)
    chosen: dict[str, Any] = {name: torch.randn(heads) if name == "sinks" else value for name, value in options.items()}
    sequences.store(kernels)
    found = sequences.attend(kernels, **chosen)
    expected = sequences.expected(chosen.get("window"), chosen.get("softcap"), chosen.get("sinks"))
    torch.testing.assert_close(found.double(), expected, rtol=1e-5, atol=1e-5)
    assert torch.equal(found, sequences.attend_alone(kernels, **chosen))


def test_keys_and_queries_are_rotated(kernels: Kernels) -> None:
    from transformers.models.llama.modeling_llama import apply_rotary_pos_emb

    sequences = Sequences([20], [20], heads=6, kv_heads=2, dim=32)
    angles = torch.randn(20, 16).repeat(1, 2)
    cos, sin = angles.cos(), angles.sin()
    q, k = (t.transpose(0, 1).unsqueeze(0) for t in (sequences.q, sequences.k[0]))
    expected_q, expected_k = apply_rotary_pos_emb(q, k, cos.unsqueeze(0), sin.unsqueeze(0))
    rotated = sequences.q.clone()
    places = sequences.places[0][:20]
    kernels.store(sequences.layer, rotated, sequences.k[0], sequences.v[0], places, (cos, sin))
    assert torch.equal(rotated, expected_q[0].transpose(0, 1))
    keys = sequences.layer.keys[places // 16, :, :, places % 16]
    assert torch.equal(keys, expected_k[0].transpose(0, 1))
    assert torch.equal(sequences.layer.values[places // 16, :, places % 16], sequences.v[0])


def test_what_does_not_fit_is_our_bug(kernels: Kernels) -> None:
    for wrong in (torch.zeros(2, 4, dtype=torch.float64), torch.zeros(4, 2).T):
        with pytest.raises(AssertionError, match="a kernel was given"):
            kernels.quantize(wrong)


def test_what_others_may_write_is_not_run(tmp_path: Path) -> None:
    found = compiled(tmp_path / "kernels")
    (tmp_path / "kernels").chmod(0o777)
    with pytest.raises(UnavailableError, match="others may write it"):
        compiled(tmp_path / "kernels")
    (tmp_path / "kernels").chmod(0o700)
    assert compiled(tmp_path / "kernels") == found


def test_cc_and_gcc_that_are_one_compiler_make_one_library(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real = find_compiler()
    made = []
    for name in ("one", "other"):
        script = tmp_path / name
        script.write_text(f'#!/bin/sh\n[ "$1" = --version ] && echo "{name} (Made) 1.2.3" || exec {real} "$@"\n')
        script.chmod(0o700)
        monkeypatch.setenv("CC", str(script))
        made.append(compiled(tmp_path / "kernels"))
    assert made[0].digest == made[1].digest
    assert made[0].compiler != made[1].compiler


@pytest.mark.parametrize("compiler", ["exit 1", "[ $1 = --version ] || { echo 'kernels.c:1: error: no' >&2; exit 1; }"])
def test_a_compiler_that_fails_leaves_everything_to_torch(
    compiler: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    script = tmp_path / "compiler"
    script.write_text(f"#!/bin/sh\n{compiler}\n")
    script.chmod(0o700)
    monkeypatch.setenv("CC", str(script))
    monkeypatch.setenv("ADAPTERHUB_CACHE", str(tmp_path))
    chosen = chosen_kernels()
    assert (chosen.kernels, chosen.failed) == (None, True)
    assert chosen.reason.startswith(f"{script}: ")


def test_one_library_for_all_who_ask_at_once(tmp_path: Path) -> None:
    import subprocess
    import sys

    code = (
        "import sys, torch; from pathlib import Path; from adapterhub.ops import Kernels; from adapterhub.ops.compiled "
        "import compiled; print(Kernels.load(compiled(Path(sys.argv[1]))).quantize(torch.ones(1, 4)).scale.item())"
    )
    started = [
        subprocess.Popen([sys.executable, "-c", code, str(tmp_path)], stdout=subprocess.PIPE, text=True)
        for _ in range(2)
    ]
    answers = [process.communicate(timeout=200)[0] for process in started]
    assert {float(answer) for answer in answers} == {torch.tensor(1 / 127).item()}
    assert [path.suffix for path in tmp_path.iterdir()] == [".so"], "and nothing is left lying about"
