"""The border: whatever an adapter's files hold, reading them ends in an adapter or in one of two errors."""

from __future__ import annotations

import json
import math
import pickle
import tracemalloc
from contextlib import suppress
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
import torch
from conftest import save_stub_adapter
from hypothesis import given
from hypothesis import strategies as st
from safetensors import safe_open
from safetensors.torch import save_file

from adapterhub.adapter import (
    CONFIG_FILE,
    PICKLED_FILES,
    PROVENANCE_FILE,
    TENSORS_FILE,
    Adapter,
    check_values,
    read_folder,
)
from adapterhub.errors import BaseMismatchError, CorruptAdapterError, UnsupportedAdapterError
from adapterhub.method import Param, Plan, Site
from adapterhub.safetensors_header import MAX_HEADER_BYTES, MAX_TENSORS, read_header

KEY = "base_model.model.layer.lora_A.weight"
SITE = Site("module", {"A": Param((2, 3))}, module="layer")
PLAN = Plan((SITE,), {KEY: (SITE, "A")})


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return save_stub_adapter(tmp_path / "adapter")


def read_wholly(folder: Path) -> Adapter:
    """All that happens to an adapter's files on the way into the engine."""
    adapter = read_folder(folder)
    adapter.check_plan(PLAN, base="stub")
    adapter.read_tensors()
    return adapter


def tensors_file(folder: Path, header: Any, payload: bytes = b"") -> Path:
    """A file with any header: an object that becomes JSON, or the raw bytes."""
    raw = header if isinstance(header, bytes) else json.dumps(header).encode()
    path = folder / TENSORS_FILE
    path.write_bytes(len(raw).to_bytes(8, "little") + raw + payload)
    return path


def entry(*shape: int, start: int = 0, end: int | None = None, dtype: Any = "F32") -> dict[str, Any]:
    """One tensor of a header; it fills its bytes unless `end` says otherwise."""
    filled = start + 4 * int(torch.Size(shape).numel())
    return {"dtype": dtype, "shape": list(shape), "data_offsets": [start, filled if end is None else end]}


def test_a_good_folder_is_read(folder: Path) -> None:
    adapter = read_wholly(folder)
    assert (adapter.peft_type, adapter.num_parameters, adapter.nbytes) == ("LORA", 6, 24)
    assert adapter.provenance is not None


def test_an_adapter_somebody_else_made_has_no_provenance(folder: Path) -> None:
    (folder / PROVENANCE_FILE).unlink()
    assert read_wholly(folder).provenance is None


@pytest.mark.parametrize("name", [CONFIG_FILE, TENSORS_FILE, PROVENANCE_FILE])
def test_a_file_truncated_anywhere_is_refused_by_name(folder: Path, name: str) -> None:
    content = (folder / name).read_bytes()
    for length in range(len(content)):
        (folder / name).write_bytes(content[:length])
        with pytest.raises(CorruptAdapterError, match=name):
            read_folder(folder)


@pytest.mark.parametrize("name", [CONFIG_FILE, TENSORS_FILE])
def test_a_missing_file_is_named(folder: Path, name: str) -> None:
    (folder / name).unlink()
    with pytest.raises(CorruptAdapterError, match=f"no {name}"):
        read_folder(folder)


def test_a_folder_that_is_not_there_is_refused(tmp_path: Path) -> None:
    with pytest.raises(CorruptAdapterError, match=f"nowhere: no {CONFIG_FILE}"):
        read_folder(tmp_path / "nowhere")


@pytest.mark.parametrize("name", PICKLED_FILES)
def test_pickled_weights_are_refused_by_name_and_never_loaded(folder: Path, name: str) -> None:
    (folder / TENSORS_FILE).unlink()
    (folder / name).write_bytes(pickle.dumps({KEY: [1.0]}))
    with pytest.raises(CorruptAdapterError, match=rf"{name}: pickled weights are never loaded"):
        read_folder(folder)


@given(st.sampled_from([CONFIG_FILE, TENSORS_FILE, PROVENANCE_FILE]), st.data())
def test_flipped_bytes_are_refused_or_still_an_adapter(name: str, draw: st.DataObject) -> None:
    with TemporaryDirectory() as place:
        folder = save_stub_adapter(Path(place))
        content = bytearray((folder / name).read_bytes())
        positions = st.integers(0, len(content) - 1)
        for position in draw.draw(st.lists(positions, min_size=1, max_size=4)):
            content[position] ^= draw.draw(st.integers(1, 255))
        (folder / name).write_bytes(content)
        with suppress(CorruptAdapterError, BaseMismatchError):
            read_wholly(folder)


KEYS = st.sampled_from(["dtype", "shape", "data_offsets", "more"])
NUMBERS = st.one_of(st.integers(-2, 30), st.sampled_from([1 << 40, 1 << 62, 10**400]), st.floats(), st.booleans())
ANYTHING = st.one_of(st.none(), NUMBERS, st.text(max_size=4), st.lists(NUMBERS, max_size=10), st.just({"F32": 0}))
FITTING = st.sampled_from([("dtype", "F32"), ("shape", [2, 1]), ("shape", [2]), ("data_offsets", [8, 16])])
PLAUSIBLE = st.sampled_from([("dtype", "I8"), ("dtype", "F64"), ("shape", [2, 0]), ("data_offsets", [4, 12])])


@given(st.one_of(FITTING, PLAUSIBLE, st.tuples(KEYS, ANYTHING)), st.text())
def test_a_header_is_refused_or_means_the_same_to_the_library(change: tuple[str, object], metadata: str) -> None:
    key, value = change
    header = {"a": entry(2), "b": entry(1, 2, start=8) | {key: value}, "__metadata__": {"format": metadata}}
    with TemporaryDirectory() as place:
        path = tensors_file(Path(place), header, bytes(16))
        try:
            tensors = read_header(path)
        except CorruptAdapterError:
            return
        with safe_open(path, "pt") as file:
            assert {name: tuple(file.get_slice(name).get_shape()) for name in file.keys()} == {  # noqa: SIM118
                name: tensor.shape for name, tensor in tensors.items()
            }


def test_a_tensor_without_values_is_read_wherever_it_stands(tmp_path: Path) -> None:
    """A module that AdaLoRA left no rank."""
    save_file({"a": torch.zeros(0, 3), "b": torch.ones(2, 2), "c": torch.zeros(2, 0)}, tmp_path / "t")
    headers = read_header(tmp_path / "t")
    assert {name: (header.shape, header.nbytes) for name, header in headers.items()} == {
        "a": ((0, 3), 0),
        "b": ((2, 2), 16),
        "c": ((2, 0), 0),
    }


@given(st.binary(max_size=64))
def test_any_bytes_as_a_header_are_refused(raw: bytes) -> None:
    with TemporaryDirectory() as place, pytest.raises(CorruptAdapterError):
        read_header(tensors_file(Path(place), raw))


F24 = bytes(24)
HOSTILE: dict[str, tuple[Any, bytes, str]] = {
    "trailing bytes": ({"a": entry(6)}, F24 + b"x", "has bytes after its tensors"),
    "missing bytes": ({"a": entry(6)}, F24[:-1], "truncated"),
    "overlapping tensors": ({"a": entry(3), "b": entry(3, start=8)}, bytes(20), "'b' starts at byte 8, expected 12"),
    "the same bytes twice": ({"a": entry(6), "b": entry(6)}, F24, "starts at byte 0, expected 24"),
    "a hole": ({"a": entry(2), "b": entry(2, start=16)}, F24, "starts at byte 16, expected 8"),
    "an offset before the data": ({"a": entry(6, start=-24, end=0)}, b"", "does not fill"),
    "offsets the wrong way round": ({"a": entry(6, start=24, end=0)}, F24, "does not fill"),
    "a shape larger than its bytes": ({"a": entry(7, end=24)}, F24, "does not fill"),
    "a size below zero": ({"a": entry(-1, 2)}, b"", "need integers of 0 or more"),
    "a shape that overflows": ({"a": entry(end=24) | {"shape": [1 << 33, 1 << 33]}}, F24, "does not fill"),
    "a shape of booleans": ({"a": entry(1) | {"shape": [True]}}, F24[:4], "need integers of 0 or more"),
    "a shape of thousands": ({"a": entry() | {"shape": [1] * 9000}}, F24[:4], "has shape .{80}; need"),
    "another dtype": ({"a": entry(6, dtype="U32")}, F24, "dtype 'U32'; accepted: F64, F32, F16, BF16, I64, I32"),
    "a dtype that is a list": ({"a": entry(6, dtype=["F32"])}, F24, "accepted: F64"),
    "no tensors": ({}, b"", "holds no tensors"),
    "metadata alone": ({"__metadata__": {"format": "pt"}}, b"", "holds no tensors"),
    "metadata that is no text": ({"__metadata__": {"a": 1}, "a": entry(6)}, F24, "does not map names to text"),
    "a list for a header": ([], b"", "not a JSON object"),
    "an entry that is text": ({"a": "F32"}, F24, "needs dtype, shape and two data_offsets"),
    "a key no tensor has": ({"a": entry(6) | {"more": 1}}, F24, "nothing else"),
    "three offsets": ({"a": entry(6) | {"data_offsets": [0, 12, 24]}}, F24, "needs dtype"),
    "UTF-16": (json.dumps({"a": entry(6)}).encode("utf-16-le"), F24, "not JSON"),
    "not UTF-8": (b'{"\xff": 1}', F24, "not JSON"),
    "nesting past the stack": (b'{"a":' + b"[" * 60_000, F24, "nested more than 32 deep"),
    "a name twice": (b'{"a":%b,"a":%b}' % ((json.dumps(entry(6)).encode(),) * 2), F24, "a name stands twice"),
    "a key of a tensor twice": (b'{"a":{"shape":[1],"shape":[6]}}', F24, "a name stands twice"),
    "too many tensors": ({f"t{n}": 0 for n in range(MAX_TENSORS + 1)}, b"", "at most 8192"),
}


@pytest.mark.parametrize("case", HOSTILE)
def test_a_hostile_header_is_refused(tmp_path: Path, case: str) -> None:
    header, payload, reason = HOSTILE[case]
    with pytest.raises(CorruptAdapterError, match=reason) as refusal:
        read_header(tensors_file(tmp_path, header, payload))
    assert len(str(refusal.value)) < 1000


@pytest.mark.parametrize(
    "name", ["", "../a", "a/b", "a..b", "/etc/passwd", "a\\b", "a\0", "a\n", "\x1b[2J", "é", "a" * 257]
)
def test_a_tensor_name_that_is_not_plain_is_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(CorruptAdapterError, match="is not a plain tensor name"):
        read_header(tensors_file(tmp_path, {name: entry(6)}, F24))


@pytest.mark.parametrize("length", [MAX_HEADER_BYTES + 1, 30 << 20, 1 << 63])
def test_a_header_over_the_limit_is_refused_unread(tmp_path: Path, length: int) -> None:
    path = tmp_path / TENSORS_FILE
    with path.open("wb") as file:
        file.write(length.to_bytes(8, "little") + b'{"a":')
        file.truncate(64 << 20)  # sparse: the file could hold it
    tracemalloc.start()
    with pytest.raises(CorruptAdapterError, match="not a safetensors file, or its header"):
        read_header(path)
    assert tracemalloc.get_traced_memory()[1] < 1 << 18
    tracemalloc.stop()


@pytest.mark.parametrize("value", [float("nan"), float("inf"), float("-inf")])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
def test_values_that_are_not_finite_are_refused(folder: Path, value: float, dtype: torch.dtype) -> None:
    tensor = torch.ones(2, 3, dtype=dtype)
    tensor[1, 2] = value
    save_file({KEY: tensor}, folder / TENSORS_FILE)
    with pytest.raises(CorruptAdapterError, match=f"{KEY}' has values that are not finite"):
        read_folder(folder).read_tensors()


def test_the_first_tensor_that_is_not_finite_is_named(folder: Path) -> None:
    wrong = torch.full((4,), torch.inf, dtype=torch.float16)
    tensors = {"a": torch.ones(3), "b": torch.ones(4), "c": wrong[:2].clone(), "d": wrong, "e": torch.ones(2).half()}
    save_file(tensors, folder / TENSORS_FILE)
    with pytest.raises(CorruptAdapterError, match="tensor 'c' has values that are not finite"):
        read_folder(folder).read_tensors()


def test_tensors_of_every_dtype_and_size_are_read_each_into_memory_of_its_own(folder: Path) -> None:
    dtypes = (torch.float64, torch.float32, torch.float16, torch.bfloat16, torch.int64, torch.int32)
    sizes = ((), (0,), (3,), (2, 0, 4), (5, 3))
    tensors = {
        f"{dtype}_{len(size)}_{index}": torch.arange(math.prod(size)).to(dtype).view(size)
        for dtype in dtypes
        for index, size in enumerate(sizes)
    }
    save_file(tensors, folder / TENSORS_FILE)
    found = read_folder(folder).read_tensors()
    assert found.keys() == tensors.keys()
    for key, tensor in tensors.items():
        assert found[key].dtype == tensor.dtype
        assert torch.equal(found[key], tensor), key
        assert found[key].untyped_storage().nbytes() == tensor.nbytes


def test_a_file_that_became_another_one_is_refused(folder: Path) -> None:
    adapter = read_folder(folder)
    path = folder / TENSORS_FILE
    whole = path.read_bytes()
    length = 8 + int.from_bytes(whole[:8], "little")
    others = {
        "shorter": whole[:-1],
        "longer": whole + b"0",
        "of other names": whole.replace(b"lora_A", b"lora_B"),
        "of another shape": whole.replace(b"[2,3]", b"[3,2]"),
        "no object": whole[:8] + b"[" * (length - 8) + whole[length:],
        "of a length beyond all": b"\xff" * 8 + whole[8:],
        "empty": b"",
    }
    for what, content in others.items():
        assert content != whole, what
        path.write_bytes(content)
        with pytest.raises(CorruptAdapterError, match="its file is not the one whose header was read"):
            adapter.read_tensors()
    path.write_bytes(whole)
    assert adapter.read_tensors()[KEY].tolist() == [[1.0] * 3] * 2


def test_tensors_are_copies_that_outlive_their_file(folder: Path) -> None:
    tensors = read_folder(folder).read_tensors()
    (folder / TENSORS_FILE).write_bytes(b"")
    assert tensors[KEY].tolist() == [[1.0] * 3] * 2


@pytest.mark.parametrize(
    ("tensors", "reason"),
    [
        ({KEY: (3, 2)}, r"the file has \(3, 2\), the plan \(2, 3\)"),
        ({"other": (2, 3)}, r"missing, the plan has \(2, 3\); other: not in the plan"),
        ({KEY: (2, 3), "other": (1,)}, r"other: not in the plan, the file has \(1,\)"),
    ],
)
def test_tensors_that_differ_from_the_plan_are_refused_by_key(
    folder: Path, tensors: dict[str, tuple[int, ...]], reason: str
) -> None:
    save_file({key: torch.zeros(shape) for key, shape in tensors.items()}, folder / TENSORS_FILE)
    with pytest.raises(BaseMismatchError, match=reason):
        read_folder(folder).check_plan(PLAN, base="stub")


@pytest.mark.parametrize(
    ("name", "content", "reason"),
    [
        (CONFIG_FILE, b"[]", "not a JSON object"),
        (CONFIG_FILE, b"{}", "no peft_type"),
        (CONFIG_FILE, b'{"peft_type": 3}', "no peft_type"),
        (CONFIG_FILE, b"[" * 60_000, "nested more than 32 deep"),
        (CONFIG_FILE, b" " * (1 << 20) + b"{}", "longer than"),
        (PROVENANCE_FILE, b'{"format_version": "1"}', "format_version '1' is none; they count from 1"),
        (PROVENANCE_FILE, b'{"format_version": true}', "format_version 'True' is none"),
        (PROVENANCE_FILE, b'{"format_version": 0}', "format_version '0' is none"),
        (CONFIG_FILE, b'{"peft_type": "LORA", "r": NaN}', "NaN is no number of JSON's"),
        (CONFIG_FILE, b'{"peft_type": "LORA", "r": 1e999}', "the number 1e999 is too long, or too large"),
        (CONFIG_FILE, b'{"peft_type": "LORA", "r": ' + b"9" * 50 + b"}", "9... is too long"),
        (CONFIG_FILE, b'{"peft_type": "\\ud800"}', "half of a surrogate pair"),
        (CONFIG_FILE, '{"peft_type": "LORA"}'.encode("utf-16"), "not JSON"),
        (CONFIG_FILE, b'{"peft_type": "LORA", "a": [' + b"0," * 20_000 + b"0]}", "20001 entries in one object or list"),
        (CONFIG_FILE, b'{"a": [' + b"[]," * 70_000 + b"0]}", "more than 65536 objects and lists"),
        (PROVENANCE_FILE, b'{"method": "lora"}', "base: missing, and it was not converted"),
        (PROVENANCE_FILE, b'{"methd": "lora"}', "adapterhub.json"),
        (CONFIG_FILE, b'{"peft_type": "LORA", "r": 2, "r": 4}', "a name stands twice"),
    ],
)
def test_a_wrong_json_file_is_refused_by_name(folder: Path, name: str, content: bytes, reason: str) -> None:
    (folder / name).write_bytes(content)
    with pytest.raises(CorruptAdapterError, match=reason) as refusal:
        read_folder(folder)
    assert name in str(refusal.value)


@pytest.mark.parametrize("name", ["full", "minimal"])
def test_a_record_of_the_first_format_is_read(folder: Path, name: str) -> None:
    """Files of `tests/formats` are never changed: they are what a release wrote."""
    record = (Path(__file__).parent / "formats" / f"adapterhub-1-{name}.json").read_bytes()
    (folder / PROVENANCE_FILE).write_bytes(record)
    provenance = read_folder(folder).provenance
    assert provenance is not None
    assert (provenance.format_version, provenance.method) == (1, "lora")
    assert provenance.model_dump(mode="json", exclude_unset=True) == json.loads(record)


@pytest.mark.parametrize("version", [2, 10**30])
def test_a_record_of_a_newer_format_is_refused_whatever_else_it_says(folder: Path, version: int) -> None:
    (folder / PROVENANCE_FILE).write_text(json.dumps({"format_version": version, "colour": "blue"}))
    with pytest.raises(UnsupportedAdapterError, match=rf"{PROVENANCE_FILE}: format_version {version} .*: upgrade"):
        read_folder(folder)


def test_values_are_checked_where_they_lie(tmp_path: Path) -> None:
    save_file({"a": torch.ones(4097), "b": torch.ones(3, dtype=torch.int64)}, tmp_path / "t")
    check_values(tmp_path / "t", name="it")
    tensor = torch.ones(4097)
    tensor[-1] = torch.inf
    save_file({"a": tensor}, tmp_path / "t")
    with pytest.raises(CorruptAdapterError, match="it: tensor 'a' has values that are not finite"):
        check_values(tmp_path / "t", name="it")
