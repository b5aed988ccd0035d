"""AdaLoRA: ranks fall while it trains, the file holds what is left, and it is served as PEFT computes it."""

from __future__ import annotations

import copy
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from conftest import save_random_adapter
from lora_cases import PEFT_SAYS, save_bare
from peft import PeftModel, get_peft_model
from training import encode, train_briefly
from transformers import AutoModelForCausalLM

from adapterhub.adapter import CONFIG_FILE, Adapter, read_folder
from adapterhub.base import BaseModel
from adapterhub.data import read_dataset
from adapterhub.errors import BaseMismatchError, ConfigError, UnsupportedAdapterError
from adapterhub.peft import peft_config
from adapterhub.plugins import installed_methods
from adapterhub.testing import save_tiny_llama
from adapterhub.testing.equality import Row, assert_equal, greedy, recording_engine, run, teacher_forced
from adapterhub.train.response_loss import mean_loss

ADALORA = installed_methods().get("adalora")
OPTIONS: dict[str, Any] = {"init_r": 6, "target_r": 2, "tinit": 2, "tfinal": 3}
"""For a run of 9 steps."""
KEY = "model.layers.{}.self_attn.{}_proj.lora_E"
PATTERN = {KEY.format(0, "q"): [True, False, True, False], KEY.format(1, "v"): [False] * 4}
PRUNED: dict[str, Any] = {"init_r": 4, "target_modules": ["q_proj", "v_proj"], "rank_pattern": PATTERN}

pytestmark = [
    *PEFT_SAYS,  # PEFT takes the pattern for LoRA's at first, and says that its keys match no module
    # A module of which no rank is left.
    pytest.mark.filterwarnings("ignore:Initializing zero-element tensors is a no-op"),
]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny base whose widths are multiples of nf4's block of 64."""
    return save_tiny_llama(tmp_path_factory.mktemp("tiny-64"), hidden=64)


@pytest.fixture(scope="module")
def floating(folder: Path) -> BaseModel:
    return BaseModel.load(str(folder), quantization="none", device="cpu")


def served(base: BaseModel, folder: Path) -> Row:
    """What the engine computes with the adapter in a folder."""
    adapter = replace(read_folder(folder), digest="sha256:ada")
    with recording_engine(base, {adapter.digest: adapter}) as (engine, recorder):
        return run(engine, recorder, [greedy(range(40, 60), adapter.digest, 6)])[0]


def assert_as_peft(base: BaseModel, folder: Path, row: Row) -> None:
    """PEFT computes the same with that adapter on the same base."""
    reference = PeftModel.from_pretrained(copy.deepcopy(base.model), str(folder)).eval()
    expected = teacher_forced(reference, greedy(range(40, 60), "", 6), row)
    torch.testing.assert_close(row.logits, expected, atol=1e-4, rtol=0)


def ranks(model: Any) -> int:
    """How many ranks of all modules are not zero."""
    return sum(int((tensor != 0).sum()) for name, tensor in model.named_parameters() if "lora_E" in name)


@pytest.mark.parametrize("quantization", ["none", "nf4"])
def test_ranks_fall_during_training_to_those_that_are_saved_and_served(
    quantization: Any, folder: Path, tmp_path: Path
) -> None:
    base = BaseModel.load(str(folder), quantization=quantization, device="cpu")
    before = {name: tensor.clone() for name, tensor in base.model.state_dict().items()}
    seen: list[int] = []
    result = train_briefly(
        base,
        "adalora",
        tmp_path / "out",
        rate=1e-1,
        options=OPTIONS,
        progress=lambda _: seen.append(ranks(base.model)),
    )
    assert all(torch.equal(base.model.state_dict()[name], tensor) for name, tensor in before.items())
    assert result.loss_after is not None
    assert result.loss_before is not None
    assert result.loss_after < 0.95 * result.loss_before

    modules = len(base.shape.linears)
    assert seen[1] == 6 * modules
    assert seen[1] > seen[2] > seen[3] > seen[5] == 2 * modules
    assert seen[5:] == [2 * modules] * 4
    config = json.loads((tmp_path / "out" / CONFIG_FILE).read_text())
    kept = {name: sum(ranks) for name, ranks in config["rank_pattern"].items()}
    assert sum(kept.values()) == 2 * modules
    assert len(set(kept.values())) > 1, "every module kept as much"
    assert (config["total_step"], config["tinit"], config["tfinal"]) == (9, 2, 3)
    shapes = {name: base.shape.modules[name] for name in base.shape.linears}
    assert result.adapter.num_parameters == sum(
        kept[f"{name}.lora_E"] * (shape.in_features + shape.out_features + 1) for name, shape in shapes.items()
    )
    assert_as_peft(base, tmp_path / "out", served(base, tmp_path / "out"))


def test_what_is_left_is_saved_whole(floating: BaseModel, tmp_path: Path) -> None:
    """Also what came back between two choices of ranks: the loss of what trained is that of what was saved."""
    options = {"init_r": 6, "target_r": 2, "deltaT": 4}
    result = train_briefly(floating, "adalora", tmp_path / "run" / "out", rate=1e-1, options=options, epochs=2.5)
    assert result.adapter.config["total_step"] == len(result.losses) == 8
    provenance = result.adapter.provenance
    assert provenance is not None
    assert provenance.prompt_format is not None
    pairs = read_dataset(tmp_path / "run" / "colors.jsonl")
    examples = encode(pairs, floating.tokenizer, provenance.prompt_format, max_length=64)
    loaded: Any = PeftModel.from_pretrained(copy.deepcopy(floating.model), tmp_path / "run" / "out")
    loss = mean_loss(loaded, examples, batch_size=8, device=floating.device)
    assert loss == pytest.approx(result.loss_after, abs=1e-5)


def test_the_loss_has_pefts_term_and_the_validation_loss_has_not(floating: BaseModel, tmp_path: Path) -> None:
    """A and B start far from orthonormal; E at zero, so that the first loss is the base's beside the term."""
    losses = {}
    for weight in (0.0, 0.5):
        options = OPTIONS | {"orth_reg_weight": weight}
        settings: dict[str, Any] = {"batch_size": 24, "max_steps": 9, "options": options}
        result = train_briefly(floating, "adalora", tmp_path / str(weight) / "out", rate=1e-9, **settings)
        losses[weight] = result.losses[0]
        assert result.loss_after == pytest.approx(result.loss_before, abs=1e-4)
    config = ADALORA.scheduled(ADALORA.Config(init_r=6, target_r=2), 9)
    torch.manual_seed(0)
    adapted: Any = get_peft_model(copy.deepcopy(floating.model), peft_config(ADALORA, config))
    ids = torch.arange(20, 44).reshape(2, 12)
    term = adapted(input_ids=ids, labels=ids).loss - adapted.base_model.model(input_ids=ids, labels=ids).loss
    torch.testing.assert_close(ADALORA.extra_loss(config, adapted), term, atol=1e-5, rtol=0)
    assert losses[0.5] - losses[0.0] == pytest.approx(float(term.detach()), abs=1e-3)


@pytest.mark.parametrize("quantization", ["none", "int8", "nf4"])
def test_an_adapter_that_lost_ranks_is_served_on_every_base(quantization: Any, folder: Path, tmp_path: Path) -> None:
    base = BaseModel.load(str(folder), quantization=quantization, device="cpu")
    recipes: dict[str, dict[str, Any]] = {"sha256:pruned": PRUNED, "sha256:whole": {"init_r": 5, "lora_alpha": 7}}
    adapters: dict[str, Adapter] = {}
    for digest, options in recipes.items():
        place = save_random_adapter(tmp_path / digest[7:], "adalora", base.shape, scale=0.4, **options)
        adapters[digest] = replace(read_folder(place), digest=digest)
    requests = [greedy(range(40, 52 + 5 * index), name, 6) for index, name in enumerate(("", *adapters, *adapters))]
    with recording_engine(base, adapters) as (engine, recorder):
        alone = [run(engine, recorder, [request])[0] for request in requests]
    with recording_engine(base, adapters, step_tokens=33) as (engine, recorder):
        tolerance = 0.0 if quantization == "int8" else 1e-4
        assert_equal(engine, recorder, requests[::-1], alone[::-1], tolerance=tolerance)
        assert engine.stats().mixed_adapter_steps
    with recording_engine(base, {}) as (engine, recorder):
        bare = run(engine, recorder, [replace(request, adapter="") for request in requests])
    moved = [float((row.logits[0] - other.logits[0]).abs().max()) for row, other in zip(alone, bare, strict=True)]
    assert moved[0] < 1e-4
    assert min(moved[1:]) > 0.05
    if quantization != "int8":  # PEFT knows no int8 base of ours
        assert_as_peft(base, tmp_path / "pruned", served(base, tmp_path / "pruned"))


def test_gpt2s_transposed_linears_are_served_as_peft_computes_them(tmp_path: Path) -> None:
    base = BaseModel.load(str(save_bare("gpt2", tmp_path / "base")), quantization="none", device="cpu")
    options: dict[str, Any] = {"target_modules": ["c_attn", "c_fc"], "init_r": 4}
    place = save_random_adapter(tmp_path / "a", "adalora", base.shape, scale=0.3, **options)
    row = served(base, place)
    reference = PeftModel.from_pretrained(AutoModelForCausalLM.from_pretrained(tmp_path / "base"), str(place)).eval()
    torch.testing.assert_close(
        row.logits, teacher_forced(reference, greedy(range(40, 60), "", 6), row), atol=1e-4, rtol=0
    )


@pytest.mark.parametrize(
    ("steps", "options", "filled"),
    [(100, {}, (10, 49)), (2, {}, (0, 0)), (3, {}, (0, 1)), (9, {"tinit": 4}, (4, 4)), (9, {"tfinal": 7}, (0, 7))],
)
def test_the_schedule_follows_the_runs_steps(steps: int, options: dict[str, Any], filled: tuple[int, int]) -> None:
    config = ADALORA.scheduled(ADALORA.Config(**options), steps)
    assert (config.total_step, config.tinit, config.tfinal) == (steps, *filled)
    peft_config(ADALORA, config)  # which PEFT accepts


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"tinit": 6, "tfinal": 3}, r"tinit: 6 with tfinal 3 leaves none of the run's 9 .*: tinit \+ tfinal < 9"),
        ({"tfinal": 8}, r"tinit: 0 with tfinal 8 .* and tfinal <= 7"),
        ({"total_step": 100}, "total_step: 100, but the run has 9 optimizer steps"),
        ({"target_r": 12}, r"target_r: 12; accepted: 1 or more, and less than init_r \(12\)"),
        ({"init_r": 3000}, "init_r: 3000 of each of 21 modules; accepted: at most 50000 in all, here 2380"),
        ({"rank_pattern": PATTERN, "init_r": 4, "target_r": 2}, "rank_pattern: chosen by training"),
        ({"r": 4}, "unknown option 'r'"),
        ({"deltaT": 0}, "deltaT: .*greater than or equal to 1"),
        ({"beta1": 1}, "beta1: .*less than 1"),
        ({"target_modules": ["q_proj", "query"]}, "target_modules: 'query' matches no linear module"),
        ({"target_modules": ["embed_tokens"]}, "target_modules: .*kind embedding"),
        ({"bias": "all"}, "bias: .*'none'"),
    ],
)  # fmt: skip
def test_what_could_not_train_is_named(
    options: dict[str, Any], message: str, floating: BaseModel, tmp_path: Path
) -> None:
    with pytest.raises(ConfigError, match=message):
        train_briefly(floating, "adalora", tmp_path / "out", rate=1e-2, options=options)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"rank_pattern": {KEY.format(0, "k"): [True] * 4}}, "rank_pattern: '.*k_proj.lora_E' is of no target module"),
        ({"rank_pattern": {KEY.format(0, "q"): [True]}}, "rank_pattern: .* lists 1 ranks; need init_r of them, 4"),
        ({"rank_pattern": {KEY.format(0, "q"): [1, 0, 1, 0]}}, "rank_pattern.*valid boolean"),
        ({"modules_to_save": ["lm_head"]}, r"modules_to_save=\['lm_head'\] is not served"),
        ({"bias": "lora_only"}, "bias: .*'none'"),
        ({"use_dora": True}, "use_dora=True is not served"),
        ({"alpha_pattern": {"q_proj": 3}}, "alpha_pattern=.* is not served"),
    ],
)
def test_an_adapter_that_says_what_is_not_served_is_refused(
    values: dict[str, Any], message: str, floating: BaseModel, tmp_path: Path
) -> None:
    place = save_random_adapter(tmp_path, "adalora", floating.shape, init_r=4, target_modules=["q_proj", "v_proj"])
    config = json.loads((place / CONFIG_FILE).read_text())
    (place / CONFIG_FILE).write_text(json.dumps(config | values))
    with pytest.raises((UnsupportedAdapterError, ConfigError), match=message):
        served(floating, place)


def test_a_file_of_more_ranks_than_its_config_says_is_refused(floating: BaseModel, tmp_path: Path) -> None:
    place = save_random_adapter(tmp_path, "adalora", floating.shape, **PRUNED)
    config = json.loads((place / CONFIG_FILE).read_text())
    (place / CONFIG_FILE).write_text(json.dumps(config | {"rank_pattern": None}))
    with pytest.raises(BaseMismatchError, match=r"q_proj\.lora_A: the file has \(2, 64\), the plan \(4, 64\)"):
        served(floating, place)
