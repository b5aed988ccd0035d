"""Merging into the base: the model computes what the base with the adapter did, or there is none."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from adapterhub_bridge import BRIDGED
from conftest import save_random_adapter
from peft import PeftModel
from torch import Tensor
from transformers import AutoModelForCausalLM, AutoTokenizer, LlamaConfig, LlamaForCausalLM

from adapterhub.adapter import PROVENANCE_FILE, Adapter, read_folder
from adapterhub.base import BaseModel, base_digest, read_base
from adapterhub.errors import (
    BaseMismatchError,
    ConflictError,
    IntegrityError,
    InvalidInputError,
    UnsupportedAdapterError,
)
from adapterhub.merging import Merged, merge
from adapterhub.merging.into_base import ROUNDING
from adapterhub.plugins import installed_methods
from adapterhub.testing import save_tiny_llama

IDS = torch.randint(0, 258, (2, 40), generator=torch.Generator().manual_seed(0))
MERGED: dict[str, tuple[str, dict[str, Any], float]] = {
    "lora": ("lora", {"r": 4, "use_rslora": True, "target_modules": ["embed_tokens", "q_proj", "lm_head"]}, 0.1),
    "dora": ("lora", {"r": 4, "use_dora": True, "target_modules": ["q_proj", "down_proj"]}, 0.1),
    "saved whole": ("lora", {"r": 4, "modules_to_save": ["lm_head"]}, 0.1),
    "adalora": ("adalora", {}, 0.3),
    "ia3": ("ia3", {}, 1.0),
    "vera": ("vera", {"r": 16}, 0.4),
    "loha": ("loha", {"r": 4}, 0.4),
    "lokr": ("lokr", {"r": 4}, 0.4),
    "oft": ("oft", {"oft_block_size": 16}, 0.1),
    "ln_tuning": ("ln_tuning", {}, 1.0),
    "trainable_tokens": ("trainable_tokens", {"token_indices": IDS[0, :3].tolist()}, 1.0),
    "miss": ("miss", {"r": 8, "target_modules": ["q_proj", "down_proj"]}, 0.1),
    "randlora": ("randlora", {"r": 8, "target_modules": ["q_proj", "down_proj"]}, 0.1),
}
"""Method, options, and how large its random values are."""
REFUSED: dict[str, tuple[str, dict[str, Any], str]] = {
    "prefix": ("prefix_tuning", {"num_virtual_tokens": 4}, "virtual tokens"),
    "prompt": ("prompt_tuning", {"num_virtual_tokens": 4}, "virtual tokens"),
    "p_tuning": ("p_tuning", {"num_virtual_tokens": 4}, "virtual tokens"),
    "cartridge": ("cartridge", {"num_virtual_tokens": 4}, "virtual tokens"),
    "bottleneck": ("bottleneck", {}, "need not be linear"),
    "activated": ("lora", {"alora_invocation_tokens": [5, 6]}, "acts from its invocation on"),
    "lora_bias": ("lora", {"lora_bias": True}, "needs a bias to be merged into"),
    "beft": ("beft", {"target_modules": ["q_proj"]}, "needs a bias to be merged into"),
}


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny base whose widths are multiples of nf4's block of 64."""
    return save_tiny_llama(tmp_path_factory.mktemp("tiny-64"), hidden=64)


@pytest.fixture(scope="module")
def tied(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same in bf16, with one tensor for head and embedding table."""
    folder = save_tiny_llama(tmp_path_factory.mktemp("tied"), hidden=64)
    config = LlamaConfig.from_pretrained(folder, tie_word_embeddings=True)
    torch.manual_seed(3)
    model: Any = LlamaForCausalLM(config)
    model.to(torch.bfloat16).save_pretrained(folder)
    return folder


def random(base: Path, folder: Path, method: str, scale: float = 0.1, **options: Any) -> Adapter:
    return read_folder(save_random_adapter(folder, method, read_base(str(base))[1], scale=scale, **options))


def logits(model: Any) -> Tensor:
    with torch.no_grad():
        found: Tensor = model(IDS).logits
    return found


def load(folder: Path) -> Any:
    model: Any = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
    return model.eval()


@pytest.mark.filterwarnings("ignore::UserWarning")  # PEFT's notes of its more experimental types
@pytest.mark.parametrize("name", MERGED)
def test_the_merged_model_is_the_base_with_the_adapter_beside_it(base: Path, tmp_path: Path, name: str) -> None:
    method, options, scale = MERGED[name]
    adapter = random(base, tmp_path / "adapter", method, scale, **options)
    merged = merge(adapter, tmp_path / "out", base=str(base))
    wanted = logits(PeftModel.from_pretrained(load(base), tmp_path / "adapter").eval())
    assert (wanted - logits(load(base))).abs().max() > 0.05
    assert (logits(load(tmp_path / "out")) - wanted).abs().max() < ROUNDING * wanted.abs().max()
    assert merged.merging.max < ROUNDING * merged.merging.largest_logit
    assert not [path.name for path in tmp_path.iterdir() if path.name not in ("adapter", "out")]


def test_the_folder_is_a_base_of_its_own_and_says_what_it_is_made_of(base: Path, tmp_path: Path) -> None:
    adapter = random(base, tmp_path / "adapter", "lora", r=4)
    merge(adapter, tmp_path / "out", base=str(base))
    loaded = BaseModel.load(str(tmp_path / "out"), quantization="int8")
    assert loaded.record.digest != base_digest(base)
    assert loaded.tokenizer("abc")["input_ids"] == AutoTokenizer.from_pretrained(base)("abc")["input_ids"]
    assert loaded.tokenizer.chat_template == AutoTokenizer.from_pretrained(base).chat_template
    card = (tmp_path / "out" / "README.md").read_text()
    assert base_digest(base) in card
    assert {"config.json", "generation_config.json", "model.safetensors"} <= {
        path.name for path in (tmp_path / "out").iterdir()
    }


@pytest.mark.parametrize("name", REFUSED)
def test_what_is_no_change_of_weights_is_refused_before_the_base_is_read(
    base: Path, tmp_path: Path, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    method, options, reason = REFUSED[name]
    adapter = random(base, tmp_path / "adapter", method, **options)
    monkeypatch.setattr("adapterhub.merging.reference.load_frozen", lambda *_: pytest.fail("the base was loaded"))
    with pytest.raises(UnsupportedAdapterError, match=f"method {method} cannot be merged: .*{reason}"):
        merge(adapter, tmp_path / "out", base=str(base))
    assert not (tmp_path / "out").exists()


def test_every_method_says_whether_it_merges(base: Path) -> None:
    _, shape = read_base(str(base))
    by_virtual_tokens = {"cartridge", "cpt", "multitask_prompt_tuning", "p_tuning", "prefix_tuning", "prompt_tuning"}
    refused = {
        name
        for name, method in installed_methods().by_name.items()
        if not isinstance(method, type(BRIDGED[0])) and method.unmergeable(_options(name), shape)
    }
    assert refused == by_virtual_tokens | {"bottleneck"}


def _options(name: str) -> Any:
    """Options of a method, where it needs any."""
    needed = {"trainable_tokens": {"token_indices": [1]}}
    return installed_methods().get(name).Config.load(needed.get(name, {}), where="test")


@pytest.mark.filterwarnings("ignore:Model has `tie_word_embeddings=True`")  # of PEFT's own, which is compared with
@pytest.mark.parametrize("targets", [["lm_head"], ["embed_tokens"], ["q_proj"]])
def test_a_tied_head_and_its_table_part_only_where_one_of_them_changes(
    tied: Path, tmp_path: Path, targets: list[str]
) -> None:
    adapter = random(tied, tmp_path / "adapter", "lora", r=4, target_modules=targets)
    merged = merge(adapter, tmp_path / "out", base=str(tied))
    config = json.loads((tmp_path / "out" / "config.json").read_text())
    assert config["tie_word_embeddings"] == (targets == ["q_proj"])
    assert (config["dtype"], merged.dtype) == ("bfloat16", torch.bfloat16)
    wanted = logits(PeftModel.from_pretrained(load(tied), tmp_path / "adapter").eval())
    assert (logits(load(tmp_path / "out")) - wanted).abs().max() < 0.05 * wanted.abs().max()  # rounded to bf16
    assert merged.merging.max < ROUNDING * merged.merging.largest_logit < merged.drift.max * 10


def test_weights_are_rounded_once_to_the_dtype_of_the_files(tied: Path, tmp_path: Path) -> None:
    adapter = random(tied, tmp_path / "adapter", "lora", r=4, target_modules=["q_proj"])
    merge(adapter, tmp_path / "out", base=str(tied))
    tensors = adapter.read_tensors()
    key = "base_model.model.model.layers.0.self_attn.q_proj"
    update = 4 * tensors[f"{key}.lora_B.weight"] @ tensors[f"{key}.lora_A.weight"]  # alpha 16 over rank 4
    weight = load(tied).model.layers[0].self_attn.q_proj.weight + update
    found = AutoModelForCausalLM.from_pretrained(tmp_path / "out").model.layers[0].self_attn.q_proj.weight
    assert torch.equal(found, weight.bfloat16())


def test_what_merging_changes_beyond_rounding_is_refused(
    base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from peft.tuners.lora.layer import Linear

    right = Linear.get_delta_weight
    monkeypatch.setattr(Linear, "get_delta_weight", lambda *of: right(*of) * 1.01)
    adapter = random(base, tmp_path / "adapter", "lora", r=4)
    with pytest.raises(IntegrityError, match=r"its logits differ by up to \S+ from those of the base with the adapter"):
        merge(adapter, tmp_path / "out", base=str(base))
    assert [path.name for path in tmp_path.iterdir()] == ["adapter"]


def test_another_base_than_recorded_and_one_that_is_not_recorded_are_refused(
    base: Path, other_base: Path, tmp_path: Path
) -> None:
    adapter = random(base, tmp_path / "adapter", "lora", r=4)
    with pytest.raises(InvalidInputError, match="its base is not recorded; name it by --base"):
        merge(adapter, tmp_path / "out")
    with pytest.raises(BaseMismatchError, match="does not fit base"):
        merge(adapter, tmp_path / "out", base=str(other_base))
    record = {"method": "lora", "base": {"id": "elsewhere", "digest": f"sha256:{'1' * 64}"}}
    (tmp_path / "adapter" / PROVENANCE_FILE).write_text(json.dumps(record))
    with pytest.raises(BaseMismatchError, match=r"was made on elsewhere \(sha256:1+\), this base is"):
        merge(read_folder(tmp_path / "adapter"), tmp_path / "out", base=str(base))


def test_a_folder_is_replaced_only_when_asked_and_only_if_it_is_a_model(base: Path, tmp_path: Path) -> None:
    adapter = random(base, tmp_path / "adapter", "lora", r=4)
    out = tmp_path / "out"
    out.mkdir()
    (out / "thesis.txt").write_text("years of work")
    with pytest.raises(ConflictError, match="not empty; --force replaces it"):
        merge(adapter, out, base=str(base))
    with pytest.raises(ConflictError, match=r"not empty and has no config.json: it is never replaced"):
        merge(adapter, out, base=str(base), replaces="config.json")
    (out / "config.json").write_text("{}")
    merge(adapter, out, base=str(base), replaces="config.json")
    assert not (out / "thesis.txt").exists()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["adapter", "out"]


def test_a_method_that_reads_weights_is_merged_only_into_those_of_a_base_it_is_served_on(
    base: Path, tmp_path: Path
) -> None:
    adapter = random(base, tmp_path / "adapter", "hira", r=8, target_modules=["q_proj"])
    with pytest.raises(UnsupportedAdapterError, match=r"method hira has no nf4 base to be merged into \(none\)"):
        merge(adapter, tmp_path / "out", base=str(base), requantize="nf4")


def requantized(base: Path, tmp_path: Path, quantization: Any) -> Merged:
    adapter = random(base, tmp_path / "adapter", "lora", 0.05, r=4, target_modules=["q_proj", "down_proj"])
    return merge(adapter, tmp_path / "out", base=str(base), requantize=quantization)


def test_nf4_comes_out_as_transformers_loads_it_with_the_drift_that_was_measured(base: Path, tmp_path: Path) -> None:
    merged = requantized(base, tmp_path, "nf4")
    beside = PeftModel.from_pretrained(BaseModel.load(str(base), quantization="nf4").model, tmp_path / "adapter")
    found = AutoModelForCausalLM.from_pretrained(tmp_path / "out")
    written = found.model.layers[0].self_attn.k_proj.weight.clone()  # bitsandbytes may pack it anew to compute
    drift = (logits(beside.eval()) - logits(found)).abs()
    assert type(found.model.layers[0].self_attn.q_proj).__name__ == "Linear4bit"
    assert 0.1 * merged.drift.mean < drift.mean() < 10 * merged.drift.mean
    assert merged.drift.max > 10 * merged.merging.max
    assert torch.equal(written, beside.model.model.layers[0].self_attn.k_proj.weight)


def test_int8_comes_out_as_the_floating_weights_that_it_is_made_from(base: Path, tmp_path: Path) -> None:
    merged = requantized(base, tmp_path, "int8")
    held = BaseModel.load(str(base), quantization="int8")
    again = BaseModel.load(str(tmp_path / "out"), quantization="int8")
    untouched, touched = ("model.layers.0.self_attn.k_proj", "model.layers.0.self_attn.q_proj")
    assert torch.equal(held.weights.weight(untouched), again.weights.weight(untouched))
    tensors = read_folder(tmp_path / "adapter").read_tensors()
    a, b = (tensors[f"base_model.model.{touched}.lora_{factor}.weight"] for factor in "AB")
    wanted = held.weights.weight(touched) + 4 * b @ a
    step = wanted.abs().amax(1, keepdim=True) / 127
    assert ((again.weights.weight(touched) - wanted).abs() <= 0.501 * step).all()
    assert merged.drift.mean > 10 * merged.merging.mean
    assert 0.5 < merged.drift.top1_agreement <= 1
