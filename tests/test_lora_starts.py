"""LoRA's starts that look at the run's examples (CorDA) or at the original weights (LoftQ)."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from lora_cases import PEFT_SAYS, save_bare
from peft import PeftModel
from safetensors.torch import load_file, save_file
from torch import Tensor
from training import encode, train_briefly
from transformers import AutoModelForCausalLM

from adapterhub.adapter import CONFIG_FILE, TENSORS_FILE
from adapterhub.base import BaseModel
from adapterhub.data import read_dataset
from adapterhub.errors import BaseNotFoundError, ConfigError
from adapterhub.plugins import installed_methods
from adapterhub.testing import save_tiny_llama
from adapterhub.testing.equality import greedy, recording_engine, run, teacher_forced
from adapterhub.train import TrainConfig
from adapterhub.train.attach import attached
from adapterhub.train.job import TrainJob
from adapterhub.train.response_loss import mean_loss

pytestmark = PEFT_SAYS

LORA = installed_methods().get("lora")


@pytest.fixture(scope="module")
def bases(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("bases")
    return {family: save_bare(family, folder / family) for family in ("llama", "gpt2")}


@pytest.fixture
def nf4(bases: dict[str, Path]) -> BaseModel:
    return BaseModel.load(str(bases["llama"]), quantization="nf4", device="cpu")


@contextmanager
def started(base: BaseModel, folder: Path, examples: int = 24, **options: Any) -> Iterator[Any]:
    """A run's adapter before its first step."""
    data = folder / "colors.jsonl"
    data.write_text("".join(f'{{"prompt": "{number}?", "completion": "red"}}\n' for number in range(examples)))
    values = {"base": base.record.id, "data": data, "prompt_format": "raw", "options": options}
    with attached(TrainJob.prepare(TrainConfig.load(values, where="test"), base)) as model:
        yield model


def update(layer: Any) -> Tensor:
    """What a LoRA layer adds to its weight, [out, in]."""
    product: Tensor = layer.lora_B["default"].weight.detach() @ layer.lora_A["default"].weight.detach()
    scaling: float = layer.scaling["default"]
    return product * scaling


def left_by(base: BaseModel) -> tuple[dict[str, Tensor], int, int]:
    """The base's tensors, how many attributes its modules have, and how many hooks."""
    modules = list(base.model.modules())
    state = {name: tensor.clone() for name, tensor in base.model.state_dict().items()}
    return state, sum(len(vars(module)) for module in modules), sum(len(module._forward_hooks) for module in modules)


def assert_as_before(base: BaseModel, before: tuple[dict[str, Tensor], int, int]) -> None:
    after = left_by(base)
    assert after[1:] == before[1:]
    assert list(after[0]) == list(before[0])
    assert all(torch.equal(after[0][name], tensor) for name, tensor in before[0].items())


@pytest.mark.parametrize("family", ["llama", "gpt2"])
def test_corda_takes_its_start_out_of_the_base_and_gives_it_back(
    family: str, bases: dict[str, Path], tmp_path: Path
) -> None:
    base = BaseModel.load(str(bases[family]), quantization="none", device="cpu")
    before = left_by(base)
    name = base.shape.linears[0]
    whole = base.weights.weight(name).clone()
    with started(base, tmp_path, init_lora_weights="corda", r=4) as model:
        layer = model.get_submodule(f"base_model.model.{name}")
        assert float(update(layer).norm()) > 0.1
        torch.testing.assert_close(base.weights.weight(name) + update(layer), whole, atol=1e-5, rtol=0)
    assert_as_before(base, before)


def test_cordas_methods_start_at_the_two_ends_of_what_the_examples_use(bases: dict[str, Path], tmp_path: Path) -> None:
    base = BaseModel.load(str(bases["llama"]), quantization="none", device="cpu")
    name = "model.layers.0.self_attn.q_proj"
    rows = []
    handle = base.model.get_submodule(name).register_forward_hook(lambda module, x, y: rows.append(x[0][0]))
    answered = {}
    for method, examples, seen in (("ipm", 300, 256), ("kpm", 24, 22)):
        rows.clear()
        options = {"init_lora_weights": "corda", "r": 4, "corda_config": {"corda_method": method}}
        with started(base, tmp_path, examples=examples, **options) as model:
            assert len(rows) == seen
            layer = model.get_submodule(f"base_model.model.{name}")
            answered[method] = float((torch.cat(rows) @ update(layer).T).norm())
    handle.remove()
    assert answered["ipm"] > 10 * answered["kpm"]


def test_a_run_that_ends_while_corda_looks_leaves_nothing_behind(bases: dict[str, Path], tmp_path: Path) -> None:
    base = BaseModel.load(str(bases["llama"]), quantization="none", device="cpu")
    before = left_by(base)

    def interrupt(module: Any, x: Any, y: Any) -> None:
        raise KeyboardInterrupt

    handle = base.model.get_submodule("model.layers.1").register_forward_hook(interrupt)
    with pytest.raises(KeyboardInterrupt), started(base, tmp_path, init_lora_weights="corda"):
        pass
    handle.remove()
    assert_as_before(base, before)


def test_loftq_starts_with_the_best_of_its_rank_of_what_nf4_lost(
    nf4: BaseModel, bases: dict[str, Path], tmp_path: Path
) -> None:
    before = left_by(nf4)
    original = AutoModelForCausalLM.from_pretrained(bases["llama"], dtype=torch.float32).state_dict()
    with started(nf4, tmp_path, init_lora_weights="loftq", r=8, rank_pattern={"k_proj": 2}) as model:
        for name in nf4.shape.linears:
            lost = original[f"{name}.weight"] - nf4.weights.weight(name)
            rank = 2 if name.endswith("k_proj") else 8
            found = update(model.get_submodule(f"base_model.model.{name}"))
            best = torch.linalg.svdvals(lost)[rank:].square().sum().sqrt()
            torch.testing.assert_close((lost - found).norm(), best, atol=1e-4, rtol=1e-4)
            assert 0 < float(best) < float(lost.norm())
    assert_as_before(nf4, before)


def test_loftq_finds_a_transposed_weight_and_one_without_the_models_prefix(
    bases: dict[str, Path], tmp_path: Path
) -> None:
    """GPT-2's own files leave `transformer.` out."""
    folder = tmp_path / "gpt2"
    save_bare("gpt2", folder)
    tensors = load_file(folder / "model.safetensors")
    renamed = {name.removeprefix("transformer."): tensor for name, tensor in tensors.items()}
    save_file(renamed, folder / "model.safetensors", metadata={"format": "pt"})
    base = BaseModel.load(str(folder), quantization="nf4", device="cpu")
    with started(base, tmp_path, init_lora_weights="loftq", r=8, target_modules=["c_attn"]) as model:
        layer = model.get_submodule("base_model.model.transformer.h.1.attn.c_attn")
        lost = tensors["transformer.h.1.attn.c_attn.weight"].T - base.weights.weight("transformer.h.1.attn.c_attn")
        assert float((lost - update(layer)).norm()) < 0.9 * float(lost.norm())


def test_loftq_is_saved_for_the_original_base(nf4: BaseModel, bases: dict[str, Path], tmp_path: Path) -> None:
    """There it is what was trained, but for what its rank left of the quantization's loss."""
    before = left_by(nf4)
    options = {"init_lora_weights": "loftq", "r": 8}
    result = train_briefly(nf4, "lora", tmp_path / "out", rate=1e-2, options=options)
    assert_as_before(nf4, before)
    assert result.loss_after is not None
    assert result.loss_before is not None
    assert result.loss_after < 0.95 * result.loss_before
    config = json.loads((tmp_path / "out" / CONFIG_FILE).read_text())
    assert (config["init_lora_weights"], config["r"]) == (True, 16)

    plain = AutoModelForCausalLM.from_pretrained(bases["llama"], dtype=torch.float32)
    reference = PeftModel.from_pretrained(plain, str(tmp_path / "out")).eval()
    served = BaseModel.load(str(bases["llama"]), quantization="none", device="cpu")
    request = greedy(range(40, 60), "sha256:converted", 6)
    with recording_engine(served, {request.adapter: replace(result.adapter, digest=request.adapter)}) as (engine, seen):
        row = run(engine, seen, [request])[0]
    torch.testing.assert_close(row.logits, teacher_forced(reference, request, row), atol=1e-4, rtol=0)
    provenance = result.adapter.provenance
    assert provenance is not None
    assert provenance.prompt_format is not None
    pairs = read_dataset(tmp_path / "colors.jsonl")
    examples = encode(pairs, served.tokenizer, provenance.prompt_format, max_length=64)
    bare, adapted = (mean_loss(m, examples, batch_size=24, device=served.device) for m in (served.model, reference))
    assert adapted < 0.95 * bare


def test_loftq_that_learned_nothing_changes_nothing_on_the_original_base(nf4: BaseModel, tmp_path: Path) -> None:
    options = {"init_lora_weights": "loftq", "r": 4}
    train_briefly(nf4, "lora", tmp_path / "out", rate=1e-9, options=options)
    tensors = load_file(tmp_path / "out" / TENSORS_FILE)
    for name in nf4.shape.linears:
        a, b = (tensors[f"base_model.model.{name}.{side}.weight"] for side in ("lora_A", "lora_B"))
        assert float(a[:4].norm()) > 0.01
        torch.testing.assert_close(b @ a, torch.zeros(b.shape[0], a.shape[1]), atol=1e-6, rtol=0)


def test_loftq_needs_a_quantized_target_and_the_original_weights(nf4: BaseModel, tmp_path: Path) -> None:
    config = LORA.Config(init_lora_weights="loftq", target_modules=("lm_head",))
    with pytest.raises(ConfigError, match="'loftq' does not go with lm_head"):
        LORA.check_training(config, nf4.shape, "nf4")
    # A row of 32 is no whole number of nf4's blocks: the CPU leaves it floating.
    narrow = BaseModel.load(str(save_tiny_llama(tmp_path / "narrow")), quantization="nf4", device="cpu")
    options = {"init_lora_weights": "loftq", "r": 2, "target_modules": ["up_proj"]}
    with pytest.raises(ConfigError, match="'loftq' has no effect: none of the target modules is held in 4 bits"):
        train_briefly(narrow, "lora", tmp_path / "out", rate=1e-2, options=options)
    save_file({"other.weight": torch.zeros(2, 2)}, tmp_path / "narrow" / "model.safetensors")
    with pytest.raises(BaseNotFoundError, match=r"no weight model\.layers\.0\.mlp\.up_proj\.weight of 64 by 32"):
        narrow.original.weight("model.layers.0.mlp.up_proj")
