"""Combining adapters: what PEFT combines, exactly where it is exact, and a record of what it was."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from peft import PeftModel
from published import publish_random
from torch import Tensor
from transformers import AutoModelForCausalLM

from adapterhub.adapter import TENSORS_FILE, Adapter, read_folder
from adapterhub.base import base_digest
from adapterhub.errors import BaseMismatchError, ConfigError, InvalidInputError, UnsupportedAdapterError
from adapterhub.merging import KINDS, Combination, Combined, Part, combine
from adapterhub.store import Store

Combine = Callable[..., Combined]


@pytest.fixture
def combined(tiny_base: Path, tmp_path: Path) -> Combine:
    """`combined([(method, options), ...], weights, **combination)`, in a new folder each time."""
    runs = iter(range(9))

    def run(members: list[tuple[str, dict[str, Any]]], weights: list[float], **how: Any) -> Combined:
        folder = tmp_path / f"run{next(runs)}"
        texts = []
        for seed, ((method, options), weight) in enumerate(zip(members, weights, strict=True)):
            publish_random(tiny_base, f"part{seed}", folder / f"part{seed}", method, seed=seed, **options)
            texts.append(f"part{seed}={weight}")
        (folder / "new").mkdir()
        parts = [Part.parse(text, Store.default()) for text in texts]
        return combine(parts, Combination.load(how, where="test"), folder / "new", base=str(tiny_base))

    return run


def folder_of(found: Combined) -> Path:
    return next(iter(found.adapter.files.values())).parent


def updates(adapter: Adapter, base: Path) -> dict[str, Tensor]:
    """s B A of every module, as PEFT computes it."""
    folder = next(iter(adapter.files.values())).parent
    model: Any = PeftModel.from_pretrained(AutoModelForCausalLM.from_pretrained(base), folder)
    modules = model.base_model.model.named_modules()
    return {name: module.get_delta_weight("default") for name, module in modules if hasattr(module, "lora_A")}


def weighted(folder: Path, weights: list[float], base: Path) -> dict[str, Tensor]:
    """sum_i w_i s_i B_i A_i."""
    total: dict[str, Tensor] = {}
    for number, weight in enumerate(weights):
        for name, update in updates(read_folder(folder.parent / f"part{number}"), base).items():
            total[name] = total.get(name, torch.zeros(())) + weight * update
    return total


PLAIN = ("lora", {"r": 4, "target_modules": ["q_proj", "down_proj"]})
RANK_STABLE = ("lora", {"r": 6, "use_rslora": True, "target_modules": ["q_proj", "v_proj", "embed_tokens"]})
BY_PATTERN = ("lora", {"r": 4, "rank_pattern": {"q_proj": 2}, "alpha_pattern": {"down_proj": 5}})
ONE_LAYER = ("lora", {"r": 4, "target_modules": ["q_proj"], "layers_to_transform": [1]})


@pytest.mark.parametrize("members", [[PLAIN, RANK_STABLE], [BY_PATTERN, PLAIN], [ONE_LAYER, RANK_STABLE, PLAIN]])
@pytest.mark.parametrize("kind", ["cat", "svd"])
def test_cat_and_a_full_svd_are_the_weighted_sum_of_the_updates(
    combined: Combine, tiny_base: Path, members: list[tuple[str, dict[str, Any]]], kind: str
) -> None:
    weights = [0.7, -0.3, 0.2][: len(members)]
    found = combined(members, weights, kind=kind, **({"rank": 16} if kind == "svd" else {}))
    wanted = weighted(folder_of(found), weights, tiny_base)
    have = updates(found.adapter, tiny_base)
    assert have.keys() == wanted.keys()
    assert all((have[name] - wanted[name]).abs().max() < 1e-4 * wanted[name].abs().max() + 1e-5 for name in wanted)


def test_linear_is_pefts_sum_of_factors_and_not_of_updates(combined: Combine, tiny_base: Path) -> None:
    found = combined([PLAIN, PLAIN], [0.7, 0.3], kind="linear")
    parts = [read_folder(folder_of(found).parent / f"part{number}").read_tensors() for number in (0, 1)]
    scaled = [(4 * weight) ** 0.5 for weight in (0.7, 0.3)]  # alpha 16 over rank 4
    for key, tensor in found.adapter.read_tensors().items():
        assert torch.allclose(tensor, scaled[0] * parts[0][key] + scaled[1] * parts[1][key], atol=1e-6)
    assert found.adapter.config["r"] == found.adapter.config["lora_alpha"] == 4


@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind not in ("cat", "svd", "linear")])
def test_every_other_kind_gives_an_adapter_that_fits_and_is_the_same_again(combined: Combine, kind: str) -> None:
    how = {"kind": kind, "density": 0.5}
    first, second = combined([PLAIN, PLAIN], [1, 1], **how), combined([PLAIN, PLAIN], [1, 1], **how)
    a, b = first.adapter.read_tensors(), second.adapter.read_tensors()
    assert a.keys() == b.keys()
    assert all(torch.equal(a[key], b[key]) for key in a)
    assert any(bool(tensor.any()) for tensor in a.values())


def test_dare_drops_by_its_seed_and_leaves_everyone_elses_alone(combined: Combine) -> None:
    torch.manual_seed(1)
    wanted = torch.rand(3)
    torch.manual_seed(1)
    runs = [combined([PLAIN, PLAIN], [1, 1], kind="dare_linear", density=0.5, seed=seed) for seed in (5, 5, 6)]
    assert torch.equal(torch.rand(3), wanted)
    same, again, other = (run.adapter.files[TENSORS_FILE].read_bytes() for run in runs)
    assert same == again
    assert same != other


def test_ia3_vectors_are_added_with_their_weights(combined: Combine) -> None:
    found = combined([("ia3", {}), ("ia3", {})], [0.25, 0.75])
    parts = [read_folder(folder_of(found).parent / f"part{number}").read_tensors() for number in (0, 1)]
    for key, tensor in found.adapter.read_tensors().items():
        assert torch.allclose(tensor, 0.25 * parts[0][key] + 0.75 * parts[1][key])


def test_the_record_names_parents_weights_and_seed(combined: Combine, tiny_base: Path) -> None:
    record = combined([PLAIN, PLAIN], [0.7, 0.3], kind="dare_ties", density=0.5, seed=7).adapter.provenance
    assert record is not None
    assert record.parents == tuple(str(Store.default().pin(name)) for name in ("part0", "part1"))
    assert record.training == {
        "objective": "combination", "combination": "dare_ties", "weights": [0.7, 0.3], "density": 0.5,
    }  # fmt: skip
    assert record.seeds == {"combination": 7}
    assert record.base is not None
    assert record.base.digest == base_digest(tiny_base)


def test_no_weight_of_the_base_is_read(tiny_base: Path, tmp_path: Path) -> None:
    texts = []
    for seed, name in enumerate(("a", "b")):
        publish_random(tiny_base, name, tmp_path / name, seed=seed, r=4)
        texts.append(f"{name}=0.5")
    (tmp_path / "base").mkdir()
    shutil.copy(tiny_base / "config.json", tmp_path / "base")
    (tmp_path / "new").mkdir()
    parts = [Part.parse(text, Store.default()) for text in texts]
    found = combine(parts, Combination(), tmp_path / "new", base=str(tmp_path / "base"))
    assert found.adapter.config["r"] == 8


REFUSED: list[tuple[list[tuple[str, dict[str, Any]]], dict[str, Any], type[Exception], str]] = [
    ([PLAIN, RANK_STABLE], {"kind": "linear"}, InvalidInputError, "linear needs updates of one rank, not 4, 6; cat"),
    ([PLAIN, PLAIN], {"kind": "svd", "rank": 33}, InvalidInputError, "rank: 33 is over 32, a module's width"),
    ([PLAIN], {}, InvalidInputError, "need two or more"),
    ([PLAIN, ("ia3", {})], {}, UnsupportedAdapterError, "types IA3, LORA: need all of one type"),
    ([("loha", {}), ("loha", {})], {}, UnsupportedAdapterError, "PEFT combines LORA, IA3, not LOHA"),
    ([("ia3", {}), ("ia3", {})], {"kind": "cat"}, InvalidInputError, r"IA3 has no cat \(accepted: linear\)"),
    ([("lora", {"use_dora": True}), PLAIN], {}, UnsupportedAdapterError, "magnitude_vector would be left out"),
    ([("lora", {"alora_invocation_tokens": [3]}), PLAIN], {}, UnsupportedAdapterError, "acts from its invocation on"),
    ([PLAIN, PLAIN], {"kind": "ties"}, ConfigError, "density: ties needs one"),
    ([PLAIN, PLAIN], {"kind": "cat", "seed": 1}, ConfigError, "seed: does not go with cat"),
]


@pytest.mark.parametrize(("members", "how", "error", "told"), REFUSED)
def test_what_does_not_combine_is_refused_by_name(
    combined: Combine,
    members: list[tuple[str, dict[str, Any]]],
    how: dict[str, Any],
    error: type[Exception],
    told: str,
) -> None:
    with pytest.raises(error, match=told):
        combined(members, [1.0] * len(members), **how)


def test_adapters_of_two_bases_are_refused(tiny_base: Path, other_base: Path, tmp_path: Path) -> None:
    publish_random(tiny_base, "a", tmp_path / "a")
    publish_random(other_base, "b", tmp_path / "b")
    parts = [Part.parse(text, Store.default()) for text in ("a=1", "b=1")]
    with pytest.raises(BaseMismatchError, match="need adapters of one base to combine"):
        combine(parts, Combination(), tmp_path, base=str(tiny_base))


@pytest.mark.parametrize("text", ["part", "part=", "part=much", "part=nan", "part=inf"])
def test_a_part_needs_a_weight(text: str) -> None:
    with pytest.raises(InvalidInputError, match="is not REF=WEIGHT"):
        Part.parse(text, Store.default())
