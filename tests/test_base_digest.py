"""The base digest: content, not files; kept while the files are the same ones."""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from transformers import AutoModelForCausalLM

from adapterhub.base import base_digest
from adapterhub.errors import BaseNotFoundError

Tensors = dict[str, torch.Tensor]
WEIGHTS = {
    "a.weight": torch.arange(6.0).reshape(2, 3),
    "b.weight": torch.ones(4, dtype=torch.bfloat16),
    "scalar": torch.tensor(3),
    "empty": torch.zeros(0, 2),
}


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("ADAPTERHUB_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


def digest_of(folder: Path, tensors: Tensors) -> str:
    folder.mkdir()
    save_file(tensors, folder / "model.safetensors")
    return base_digest(folder)


def test_it_is_a_sha256_of_the_content(tmp_path: Path) -> None:
    digest = digest_of(tmp_path / "a", WEIGHTS)
    assert re.fullmatch("sha256:[0-9a-f]{64}", digest)
    assert digest == digest_of(tmp_path / "b", dict(reversed(WEIGHTS.items())))


def test_it_does_not_depend_on_sharding(tiny_base: Path, tmp_path: Path) -> None:
    AutoModelForCausalLM.from_pretrained(tiny_base).save_pretrained(tmp_path / "sharded", max_shard_size="20KB")
    assert len(list((tmp_path / "sharded").glob("*.safetensors"))) > 2
    assert base_digest(tmp_path / "sharded") == base_digest(tiny_base)


def flip(weights: Tensors) -> Tensors:
    return weights | {"a.weight": weights["a.weight"] + torch.eye(2, 3) * 1e-3}


def rename(weights: Tensors) -> Tensors:
    return {name.replace("b.", "c."): tensor for name, tensor in weights.items()}


def reshape(weights: Tensors) -> Tensors:
    return weights | {"a.weight": weights["a.weight"].reshape(3, 2)}


def retype(weights: Tensors) -> Tensors:
    return weights | {"b.weight": weights["b.weight"].view(torch.float16)}


def drop(weights: Tensors) -> Tensors:
    return {name: tensor for name, tensor in weights.items() if name != "scalar"}


@pytest.mark.parametrize("change", [flip, rename, reshape, retype, drop])
def test_it_changes_with_any_tensor(change: Callable[[Tensors], Tensors], tmp_path: Path) -> None:
    assert digest_of(tmp_path / "a", WEIGHTS) != digest_of(tmp_path / "b", change(WEIGHTS))


def test_it_changes_with_one_byte(tmp_path: Path) -> None:
    before = digest_of(tmp_path / "a", WEIGHTS)
    file = tmp_path / "a" / "model.safetensors"
    content = bytearray(file.read_bytes())
    content[-1] ^= 1
    file.write_bytes(content)
    assert base_digest(tmp_path / "a") != before


def test_a_second_call_reads_no_weights(tmp_path: Path, cache: Path) -> None:
    digest_of(tmp_path / "a", WEIGHTS)
    (kept,) = (cache / "digests").iterdir()
    kept.write_text('{"digest": "sha256:kept"}')
    assert base_digest(tmp_path / "a") == "sha256:kept"


def test_an_edit_that_keeps_size_and_mtime_is_seen(tmp_path: Path) -> None:
    before = digest_of(tmp_path / "a", WEIGHTS)
    file = tmp_path / "a" / "model.safetensors"
    times = file.stat()
    file.write_bytes(file.read_bytes()[:-1] + b"\x7f")
    os.utime(file, ns=(times.st_atime_ns, times.st_mtime_ns))
    assert base_digest(tmp_path / "a") != before


def test_a_cache_that_is_damaged_or_cannot_be_written_only_costs_time(tmp_path: Path, cache: Path) -> None:
    digest = digest_of(tmp_path / "a", WEIGHTS)
    (kept,) = (cache / "digests").iterdir()
    kept.write_text("{")
    assert base_digest(tmp_path / "a") == digest
    kept.unlink()
    kept.parent.rmdir()
    kept.parent.write_text("a file where the folder should be")
    assert base_digest(tmp_path / "a") == digest


def test_a_truncated_file_is_refused_by_name(tmp_path: Path) -> None:
    digest_of(tmp_path / "a", WEIGHTS)
    file = tmp_path / "a" / "model.safetensors"
    file.write_bytes(file.read_bytes()[:-1])
    with pytest.raises(BaseNotFoundError, match=r"model\.safetensors: not a safetensors file"):
        base_digest(tmp_path / "a")


@pytest.mark.parametrize(
    ("index", "problem"),
    [
        ("{}", "not an index"),
        ('{"weight_map": {"a": "missing.safetensors"}}', "missing.safetensors"),
        ('{"weight_map": {"a": "../a/model.safetensors"}}', "no file here"),
        ('{"weight_map": {"a": "pytorch_model.bin"}}', "pytorch_model.bin"),
    ],
)
def test_an_index_that_leads_elsewhere_is_refused(index: str, problem: str, tmp_path: Path) -> None:
    digest_of(tmp_path / "a", WEIGHTS)
    (tmp_path / "b").mkdir()
    (tmp_path / "b" / "pytorch_model.bin").write_bytes(b"")
    (tmp_path / "b" / "model.safetensors.index.json").write_text(index)
    with pytest.raises(BaseNotFoundError, match=problem):
        base_digest(tmp_path / "b")
