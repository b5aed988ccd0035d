"""A stranger's method at every kind of site holds the contract, and PEFT's switches work on it."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

import pytest
import torch
from peft import PeftModel, get_peft_model
from pydantic import Field
from test_families import FAMILIES
from torch import Tensor, nn
from torch.nn import functional
from training import assert_trains
from transformers import AutoModelForCausalLM

from adapterhub import BaseShape, Method, MethodConfig, Param, Params, Site
from adapterhub.adapter import read_folder
from adapterhub.base import BaseModel, Quantization
from adapterhub.encoder import IGNORED, Example
from adapterhub.errors import PluginError, UnsupportedAdapterError
from adapterhub.method import BaseWeights
from adapterhub.peft import peft_config, register
from adapterhub.plugins import Methods
from adapterhub.testing import MethodContract, save_random_adapter, save_tokenizer
from adapterhub.testing.equality import greedy, recording_engine, run, teacher_forced
from adapterhub.train.examples import collate
from adapterhub.train.response_loss import summed_loss

IDS = torch.arange(20, 44).reshape(2, 12)


class NoOptions(MethodConfig):
    """No options."""


class Parallel(Method[NoOptions]):
    """mlp(norm(h)) + W relu(h): beside the feed-forward part, from what its norm gets."""

    name, peft_type, Config = "parallel", "PARALLEL", NoOptions

    def sites(self, config: NoOptions, shape: BaseShape) -> list[Site]:
        params = {"weight": Param((shape.hidden_size, shape.hidden_size))}
        return [
            Site("module", params, module=f"{layer}.mlp", tap=f"{layer}.post_attention_layernorm")
            for layer in shape.layers
        ]

    def post(self, config: NoOptions, p: Params, x: Tensor, y: Tensor) -> Tensor:
        return y + functional.relu(x) @ p["weight"].T


class OwnNorms(Method[NoOptions]):
    """Norms replaced by ones without a mean of squares: g * x / max|x|, and a full head."""

    name, peft_type, Config = "own_norms", "OWN_NORMS", NoOptions

    def sites(self, config: NoOptions, shape: BaseShape) -> list[Site]:
        norms = [name for name, module in shape.modules.items() if module.kind == "norm"]
        sites = [Site("module", {"gain": Param((shape.hidden_size,), "ones")}, module=n, replaces=True) for n in norms]
        head = Param((shape.vocab_size, shape.hidden_size))
        return [*sites, Site("module", {"head": head}, module=shape.lm_head, replaces=True)]

    def replace(self, config: NoOptions, p: Params, x: Tensor) -> Tensor:
        if "head" in p:
            return x @ p["head"].T
        return p["gain"] * x / x.abs().amax(dim=-1, keepdim=True)


class Direction(Method[NoOptions]):
    """y * m / |W|: rows of a weight given another length, which must be known of the base."""

    name, peft_type, Config = "direction", "DIRECTION", NoOptions

    def sites(self, config: NoOptions, shape: BaseShape) -> list[Site]:
        return [
            Site("module", {"magnitude": Param((shape.modules[name].out_features,), "ones")}, module=name)
            for name in shape.linears
        ]

    def bind(self, config: NoOptions, site: Site, p: Params, base: BaseWeights) -> Params:
        return {"ratio": (1 + p["magnitude"]) / base.row_norms(site.module).sqrt().float()}

    def post(self, config: NoOptions, p: Params, x: Tensor, y: Tensor) -> Tensor:
        return y * p["ratio"]


class Nested(Method[NoOptions]):
    """Sites in one another: a layer, its feed-forward part and a linear module of that."""

    name, peft_type, Config = "nested", "NESTED", NoOptions

    def sites(self, config: NoOptions, shape: BaseShape) -> list[Site]:
        params = {"shift": Param((shape.hidden_size,))}
        return [
            Site("module", params, module=f"{layer}{part}")
            for layer in shape.layers
            for part in (".mlp", "", ".mlp.down_proj")
        ]

    def post(self, config: NoOptions, p: Params, x: Tensor, y: Tensor) -> Tensor:
        return y + p["shift"]


class OtherIds(Method[NoOptions]):
    """The table's next row for every token, shifted: an embedding takes token ids."""

    name, peft_type, Config = "other_ids", "OTHER_IDS", NoOptions

    def sites(self, config: NoOptions, shape: BaseShape) -> list[Site]:
        name = next(name for name, module in shape.modules.items() if module.kind == "embedding")
        return [Site("module", {"shift": Param((shape.hidden_size,))}, module=name)]

    def pre(self, config: NoOptions, p: Params, x: Tensor) -> Tensor:
        return (x + 1) % 258

    def post(self, config: NoOptions, p: Params, x: Tensor, y: Tensor) -> Tensor:
        return y + p["shift"] * (x % 2).unsqueeze(-1)


class FrontConfig(MethodConfig):
    kind: Literal["kv", "prompt"] = "prompt"
    n: int = Field(default=3, ge=1)


class LowRankFront(Method[FrontConfig]):
    """Virtual tokens of rank 2, and a shift behind the first layer."""

    name, peft_type, Config = "low_rank_front", "LOW_RANK_FRONT", FrontConfig

    def sites(self, config: FrontConfig, shape: BaseShape) -> list[Site]:
        width = shape.hidden_size
        if config.kind == "kv":
            width = shape.num_layers * 2 * shape.num_kv_heads * shape.head_dim
        params = {"left": Param((config.n, 2), "normal", std=1.0), "right": Param((2, width), "normal", std=1.0)}
        return [
            Site(config.kind, params, virtual_tokens=config.n),
            Site("module", {"shift": Param((shape.hidden_size,))}, module=shape.layers[0]),
        ]

    def post(self, config: FrontConfig, p: Params, x: Tensor, y: Tensor) -> Tensor:
        return y + p["shift"]

    def prompt(self, config: FrontConfig, p: Params) -> Tensor:
        return p["left"] @ p["right"]

    def kv(self, config: FrontConfig, p: Params, shape: BaseShape) -> Tensor:
        size = (config.n, shape.num_layers, 2, shape.num_kv_heads, shape.head_dim)
        return (p["left"] @ p["right"]).view(size).permute(1, 2, 3, 0, 4)


class TestTap(MethodContract):
    method = Parallel()


class TestReplace(MethodContract):
    method = OwnNorms()
    starts_as_identity = False


class TestBind(MethodContract):
    method = Direction()
    starts_as_identity = False


class TestEmbedding(MethodContract):
    method = OtherIds()
    starts_as_identity = False
    scale = 0.5


class TestNested(MethodContract):
    method = Nested()


class TestFront(MethodContract):
    method = LowRankFront()
    options = ({"kind": "prompt"}, {"kind": "kv"})
    scale = 0.7


@pytest.fixture
def model(tiny_base: Path) -> Any:
    register(LowRankFront())
    loaded: Any = AutoModelForCausalLM.from_pretrained(tiny_base)
    return loaded


@pytest.fixture(params=["prompt", "kv"])
def kind(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def adapted(model: nn.Module, kind: str) -> PeftModel:
    torch.manual_seed(0)
    method = LowRankFront()
    result: PeftModel = get_peft_model(model, peft_config(method, FrontConfig.load({"kind": kind}, where="test")))
    return result.eval()


def logits(model: nn.Module, **inputs: Any) -> Tensor:
    with torch.no_grad():
        result: Tensor = model(input_ids=IDS, **inputs).logits
    return result


def test_callers_see_the_length_they_gave(model: Any, kind: str) -> None:
    front = adapted(model, kind)
    whole = logits(front)
    mask = torch.ones_like(IDS)
    assert whole.shape[:2] == IDS.shape
    for inputs in (
        {"attention_mask": mask},
        {"attention_mask": mask, "use_cache": False},
        {"position_ids": torch.arange(12).unsqueeze(0)},
        {"attention_mask": mask, "labels": IDS},
    ):
        torch.testing.assert_close(logits(front, **inputs), whole, atol=1e-5, rtol=0)
    torch.testing.assert_close(logits(front, logits_to_keep=4), whole[:, -4:], atol=1e-5, rtol=0)
    picked = torch.tensor([2, 9])
    torch.testing.assert_close(logits(front, logits_to_keep=picked), whole[:, picked], atol=1e-5, rtol=0)
    torch.testing.assert_close(front(IDS).logits, whole, atol=1e-5, rtol=0)
    embedded = model.get_input_embeddings()(IDS)
    torch.testing.assert_close(front(inputs_embeds=embedded).logits, whole, atol=1e-5, rtol=0)


def test_padding_behind_a_row_changes_nothing(model: Any, kind: str) -> None:
    front = adapted(model, kind)
    mask = torch.ones_like(IDS)
    mask[0, 7:] = 0
    alone = front(input_ids=IDS[:1, :7]).logits
    torch.testing.assert_close(logits(front, attention_mask=mask)[:1, :7], alone, atol=1e-5, rtol=0)


def test_generate_with_and_without_a_cache_goes_on_from_the_virtual_tokens(model: Any, kind: str) -> None:
    front = adapted(model, kind)
    asked: dict[str, Any] = {"max_new_tokens": 8, "min_new_tokens": 8, "do_sample": False}
    inputs = {"input_ids": IDS, "attention_mask": torch.ones_like(IDS)}
    generate: Any = front.generate
    cached = generate(**inputs, **asked)
    assert torch.equal(generate(**inputs, **asked, use_cache=False), cached)
    with torch.no_grad():
        again = front(input_ids=cached).logits[:, IDS.shape[1] - 1 : -1].argmax(dim=-1)
    assert torch.equal(again[:, 1:], cached[:, IDS.shape[1] + 1 :])  # the first may not be the end of the sequence


def test_peft_loads_virtual_tokens_onto_the_meta_device_first(model: Any, kind: str, tmp_path: Path) -> None:
    front = adapted(model, kind)
    wanted = logits(front)
    front.save_pretrained(str(tmp_path), save_embedding_layers=False)
    again = PeftModel.from_pretrained(front.unload(), tmp_path, low_cpu_mem_usage=True)
    assert torch.equal(logits(again), wanted)


def test_the_response_loss_of_a_batch_is_that_of_its_rows_alone(model: Any, kind: str) -> None:
    front = adapted(model, kind)
    ids = list(range(20, 40))
    examples = [
        Example(input_ids=ids[:length], labels=[IGNORED] * prompt + ids[prompt:length])
        for prompt, length in ((4, 9), (7, 12), (1, 5))
    ]
    with torch.no_grad():
        alone = torch.stack([summed_loss(front, collate([example])) for example in examples]).sum()
        torch.testing.assert_close(summed_loss(front, collate(examples)), alone, atol=1e-4, rtol=0)


def test_disabling_deleting_and_unloading_give_the_base_back(model: Any, kind: str) -> None:
    bare, names = logits(model), list(model.state_dict())
    front = adapted(model, kind)
    first = logits(front)
    assert (first - bare).abs().max() > 0.05
    with front.disable_adapter():
        assert torch.equal(logits(front), bare)
    front.add_adapter("second", peft_config(LowRankFront(), FrontConfig(n=5)))
    assert torch.equal(logits(front), first)
    front.set_adapter("second")
    assert (logits(front) - first).abs().max() > 0.05
    front.set_adapter("default")
    front.delete_adapter("second")
    assert torch.equal(logits(front), first)
    assert front.unload() is model
    assert list(model.state_dict()) == names
    assert torch.equal(logits(model), bare)


def test_two_adapters_with_virtual_tokens_cannot_act_at_once(model: Any) -> None:
    front = adapted(model, "prompt")
    front.add_adapter("second", peft_config(LowRankFront(), FrontConfig(n=5)))
    tuner: Any = front.base_model
    tuner.set_adapter(["default", "second"])
    with pytest.raises(UnsupportedAdapterError, match="default, second: only one with virtual tokens"):
        logits(front)


def test_keys_and_values_refuse_gradient_checkpointing_which_loses_them(model: Any) -> None:
    front = adapted(model, "kv").train()
    model.activation_checkpointing_enable()
    with pytest.raises(UnsupportedAdapterError, match=r"'low_rank_front': .* gradient checkpointing"):
        logits(front)


def test_prompts_and_module_sites_train_with_gradient_checkpointing(model: Any) -> None:
    front = adapted(model, "prompt").train()
    gradients = []
    for _ in range(2):
        front.zero_grad()
        front(input_ids=IDS, labels=IDS, use_cache=False).loss.backward()
        gradients.append([p.grad.clone() for p in front.parameters() if p.grad is not None])
        model.activation_checkpointing_enable()
        front.enable_input_require_grads()
    assert len(gradients[0]) == 3
    torch.testing.assert_close(gradients[0], gradients[1])


@pytest.mark.parametrize("quantization", ["none", "nf4"])
def test_a_strangers_virtual_tokens_train_like_any_method(
    tiny_base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str, quantization: Quantization
) -> None:
    register(method := LowRankFront())
    for module in ("training", "adapterhub.train.choice"):
        monkeypatch.setattr(f"{module}.installed_methods", lambda: Methods({method.name: method}, ()))
    base = BaseModel.load(str(tiny_base), quantization=quantization)
    bare = logits(base.model)
    assert_trains(base, method.name, tmp_path / "run" / "out", rate=3e-2, options={"kind": kind})
    assert torch.equal(logits(base.model), bare)


@pytest.mark.parametrize("family", FAMILIES)
def test_virtual_tokens_on_other_families_are_those_that_are_served(family: str, tmp_path: Path, kind: str) -> None:
    register(method := LowRankFront())
    torch.manual_seed(0)
    plain: Any = AutoModelForCausalLM.from_config(FAMILIES[family])  # type: ignore[no-untyped-call]
    plain.save_pretrained(tmp_path)
    save_tokenizer(tmp_path)
    base = BaseModel.load(str(tmp_path), quantization="none")
    config = FrontConfig.load({"kind": kind}, where="test")
    folder = save_random_adapter(tmp_path / "adapter", method, config, base.shape, scale=0.5)
    adapters = {"sha256:a": replace(read_folder(folder), digest="sha256:a")}
    request = greedy(range(7, 40), "sha256:a", 6)
    with recording_engine(base, adapters, methods=Methods({method.name: method}, ())) as (engine, recorder):
        row = run(engine, recorder, [request])[0]
    loaded = PeftModel.from_pretrained(AutoModelForCausalLM.from_pretrained(tmp_path), folder).eval()
    torch.testing.assert_close(row.logits, teacher_forced(loaded, request, row), atol=1e-4, rtol=0)


@pytest.mark.parametrize(
    ("sites", "message"),
    [
        ([Site("prompt", {"a": Param((1, 32))}), Site("kv", {"b": Param((1, 32))})], "more than one kv or prompt site"),
        ([Site("module", {"a": Param((1,))}, module="lm_head")] * 2, "two sites at lm_head"),
        ([Site("module", {"a": Param((1,))}, module="nowhere")], "'nowhere' is no module of LlamaForCausalLM"),
        ([Site("module", {"a": Param((1,))}, module="lm_head", tap="gone")], "'gone' is no module"),
    ],
)
def test_sites_that_cannot_act_together_are_refused(model: Any, sites: list[Site], message: str) -> None:
    class Wrong(Parallel):
        def sites(self, config: NoOptions, shape: BaseShape) -> list[Site]:
            return sites

    register(Wrong())
    with pytest.raises(PluginError, match=f"'parallel': {message}"):
        get_peft_model(model, peft_config(Wrong(), NoOptions()))
