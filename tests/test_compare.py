"""Comparing adapters: every key that differs, and norms that are those of the whole updates."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from conftest import save_random_adapter
from hypothesis import given
from hypothesis import strategies as st
from safetensors.torch import save_file

from adapterhub.adapter import Adapter, read_folder
from adapterhub.base import read_base
from adapterhub.compare import SiteNorms, changes, compare

Q_PROJ = "model.layers.1.self_attn.q_proj"

records = st.recursive(
    st.integers(0, 2), lambda inner: st.dictionaries(st.sampled_from("abc"), inner, max_size=3), max_leaves=8
).map(lambda value: value if isinstance(value, dict) else {"a": value})


def make(base: Path, folder: Path, method: str = "lora", **options: Any) -> Adapter:
    return read_folder(save_random_adapter(folder, method, read_base(str(base))[1], **options))


def norms(a: Adapter, b: Adapter) -> dict[str, SiteNorms]:
    return {found.site: found for found in compare(a, b).sites}


@given(records, records)
def test_changes_are_none_for_the_same_and_turn_round_with_their_order(a: dict[str, Any], b: dict[str, Any]) -> None:
    assert changes(a, a) == ()
    assert bool(changes(a, b)) == (a != b)
    turned = {"added": "removed", "removed": "added", "changed": "changed"}
    back = [(turned[change.kind], change.key, change.after, change.before) for change in changes(b, a)]
    assert [tuple(change) for change in changes(a, b)] == back


def test_changes_name_nested_keys_by_dots() -> None:
    found = changes({"base": {"id": "x", "digest": "1"}, "r": 4}, {"base": {"id": "x", "digest": "2"}, "alpha": 8})
    assert [tuple(change) for change in found] == [
        ("added", "alpha", None, 8),
        ("changed", "base.digest", "1", "2"),
        ("removed", "r", 4, None),
    ]


def test_low_rank_updates_are_compared_as_updates_whatever_their_ranks(tiny_base: Path, tmp_path: Path) -> None:
    a = make(tiny_base, tmp_path / "a", r=4, target_modules=["q_proj"])
    b = make(tiny_base, tmp_path / "b", seed=1, r=6, use_rslora=True, target_modules=["q_proj"])
    whole = []
    for adapter, scaling in ((a, 16 / 4), (b, 16 / 6**0.5)):
        tensors = adapter.read_tensors()
        factors = [tensors[f"base_model.model.{Q_PROJ}.lora_{name}.weight"].double() for name in "BA"]
        whole.append(scaling * factors[0] @ factors[1])
    found = norms(a, b)[Q_PROJ]
    assert found.of == "update"
    assert (found.a, found.b) == pytest.approx((float(whole[0].norm()), float(whole[1].norm())))
    assert found.difference == pytest.approx(float((whole[0] - whole[1]).norm()))


def test_the_same_update_by_other_factors_has_not_changed(tiny_base: Path, tmp_path: Path) -> None:
    a = make(tiny_base, tmp_path / "a", r=4, target_modules=["q_proj"])
    b = make(tiny_base, tmp_path / "b", r=4, target_modules=["q_proj"], lora_alpha=32)
    halved = {key: tensor / 2 if "lora_B" in key else tensor for key, tensor in b.read_tensors().items()}
    save_file(halved, tmp_path / "b" / "adapter_model.safetensors")
    found = compare(a, read_folder(tmp_path / "b"))
    assert not found.equal
    assert [change.key for change in found.config] == ["lora_alpha"]
    assert all(site.difference is not None and site.difference < 1e-6 for site in found.sites)


def test_a_site_of_only_one_has_changed_wholly_and_the_most_changed_is_first(tiny_base: Path, tmp_path: Path) -> None:
    a = make(tiny_base, tmp_path / "a", r=4, target_modules=["q_proj"])
    b = make(tiny_base, tmp_path / "b", r=4, target_modules=["q_proj"], layers_to_transform=[1])
    found = compare(a, b).sites
    assert [(site.b, site.change) for site in found if site.site != Q_PROJ] == [(0.0, 1.0)] * 2
    assert [site.change for site in found] == sorted((site.change or 0 for site in found), reverse=True)


@pytest.mark.parametrize(
    ("method", "options", "site"),
    [
        ("lora", {"use_dora": True, "target_modules": ["q_proj"]}, Q_PROJ),
        ("ia3", {}, "model.layers.1.self_attn.k_proj"),
        ("ln_tuning", {}, "model.layers.1.input_layernorm"),
        ("bottleneck", {}, "model.layers.1"),
        ("lora", {"modules_to_save": ["lm_head"]}, "lm_head"),
        ("prompt_tuning", {"num_virtual_tokens": 4}, ""),
        ("oft", {"oft_block_size": 16, "target_modules": ["q_proj"]}, Q_PROJ),
    ],
)
def test_what_is_no_low_rank_pair_is_compared_by_its_tensors(
    tiny_base: Path, tmp_path: Path, method: str, options: dict[str, Any], site: str
) -> None:
    a = make(tiny_base, tmp_path / "a", method, **options)
    b = make(tiny_base, tmp_path / "b", method, seed=1, **options)
    found = norms(a, b)[site]
    ours = [key for key in a.tensors if key.startswith(f"base_model.model.{site}.") or not site]
    mine, theirs = (torch.cat([each.read_tensors()[key].flatten() for key in ours]) for each in (a, b))
    assert found.of == "tensors"
    assert (found.a, found.difference) == pytest.approx((float(mine.norm()), float((mine - theirs).norm())), rel=1e-5)


def test_two_methods_at_one_site_are_not_comparable_and_the_same_adapter_is_equal(
    tiny_base: Path, tmp_path: Path
) -> None:
    a = make(tiny_base, tmp_path / "a", r=4, target_modules=["k_proj"])
    b = make(tiny_base, tmp_path / "b", "ia3")
    found = compare(a, b)
    assert (found.sites[0].difference, found.sites[0].change) == (None, None)
    same = compare(a, a)
    assert (same.equal, same.config, same.files) == (True, (), ())
    assert all(site.difference == 0 for site in same.sites)


def test_an_adapter_of_an_unknown_type_is_compared_all_the_same(tiny_base: Path, tmp_path: Path) -> None:
    make(tiny_base, tmp_path / "a", r=4, target_modules=["q_proj"])
    (tmp_path / "a" / "adapter_config.json").write_text('{"peft_type": "LORA", "task_type": "SEQ_CLS"}')
    assert {site.of for site in compare(read_folder(tmp_path / "a"), read_folder(tmp_path / "a")).sites} == {"tensors"}
