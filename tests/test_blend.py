"""Several adapters at once are the weighted sum of what each changes, and a blend lives as any adapter does."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from cases import Case, Recipes, tiny_case
from conftest import save_random_adapter
from peft import PeftModel
from prometheus_client import generate_latest
from serving import Serving, serving
from test_adapter_pool import engine_with_room
from transformers import AutoModelForCausalLM

from adapterhub.adapter import Adapter
from adapterhub.base import BaseModel
from adapterhub.client import AioClient
from adapterhub.engine import Blend, Engine, Request, Sampling, Servable, adapter_pool
from adapterhub.engine.blended import summed
from adapterhub.errors import (
    AdapterHubError,
    AdapterNotFoundError,
    ConflictError,
    InvalidInputError,
    RefError,
    UnsupportedAdapterError,
)
from adapterhub.op import LowRank
from adapterhub.prompt_format import PromptFormat
from adapterhub.testing.equality import Row, greedy, recording_engine, run, teacher_forced

RECIPES: Recipes = [
    ("lora", {"r": 8, "lora_alpha": 12}, 1.0),
    ("lora", {"r": 3, "use_rslora": True, "target_modules": ["q_proj", "down_proj"]}, 1.0),
    ("lora", {"r": 4, "use_dora": True, "target_modules": ["q_proj", "up_proj"]}, 1.0),
    ("lora", {"r": 2, "target_modules": ["lm_head"]}, 1.0),
    ("ia3", {}, 10.0),
    ("prefix_tuning", {"num_virtual_tokens": 5}, 10.0),
    ("lora", {"r": 2, "target_modules": ["embed_tokens"]}, 1.0),
    ("lora", {"r": 2, "modules_to_save": ["lm_head"]}, 1.0),
    ("lora", {"r": 2, "alora_invocation_tokens": [5, 6]}, 1.0),
]
BLENDABLE = 4
WEIGHTS = (0.7, -1.3, 2.0, 0.25)


@pytest.fixture(scope="module")
def case(tiny_base: Path, tmp_path_factory: pytest.TempPathFactory) -> Case:
    return tiny_case(tiny_base, tmp_path_factory.mktemp("blend"), "none", RECIPES)


def blend(case: Case, *weights: float) -> Blend:
    """Of the case's first adapters."""
    return Blend.of(list(zip(case.adapters.values(), weights, strict=False)))


def asked(case: Case, digest: str) -> Request:
    return replace(case.requests[1], adapter=digest)


def rows(case: Case, *served: Adapter | Blend, others: list[Request] | None = None) -> list[Row]:
    """What each gives for one prompt in one batch, in front of `others`."""
    with recording_engine(case.base, {each.digest: each for each in served}) as (engine, recorder):  # type: ignore[misc]
        for adapter in case.adapters.values():
            engine.register_adapter(adapter)
        return run(engine, recorder, [asked(case, each.digest) for each in served] + (others or []))


def test_a_blend_is_the_weighted_sum_of_peft_s_changes_of_the_weights(case: Case) -> None:
    plain = AutoModelForCausalLM.from_pretrained(case.folder, dtype=torch.float64)
    plain.lm_head.weight = torch.nn.Parameter(plain.lm_head.weight.detach().clone())
    own = {name: tensor.clone() for name, tensor in plain.state_dict().items()}
    changed = {name: tensor.clone() for name, tensor in own.items()}
    for folder, weight in zip(case.folders.values(), WEIGHTS, strict=False):
        plain.load_state_dict(own)
        merged = PeftModel.from_pretrained(plain, str(folder), autocast_adapter_dtype=False).merge_and_unload()
        for name, tensor in merged.state_dict().items():
            changed[name] += weight * (tensor - own[name])
        plain = merged
    plain.load_state_dict(changed)
    (row,) = rows(case, blend(case, *WEIGHTS))
    truth = teacher_forced(plain, asked(case, ""), row)
    assert torch.equal(truth.argmax(dim=-1), torch.tensor(row.tokens))
    assert torch.allclose(row.logits, truth, atol=2e-5 * float(truth.abs().max()))


def test_the_sum_of_ops_with_scales_and_shifts_is_one_op() -> None:
    draw = torch.Generator().manual_seed(0)

    def random_op(rank: int, *, scale: bool, shift: bool) -> LowRank:
        a, b, s, t = (torch.randn(size, generator=draw) for size in ((rank, 6), (5, rank), (5,), (5,)))
        return LowRank(a, b, scale=s if scale else None, shift=t if shift else None)

    ops = [random_op(1 + index, scale=index % 2 == 0, shift=index > 1) for index in range(4)]
    x, y = torch.randn(7, 6, generator=draw), torch.randn(7, 5, generator=draw)
    for count in range(1, 5):
        expected = y + sum(
            weight * (op.apply_(x, y.clone(), torch.clone) - y)
            for op, weight in zip(ops[:count], WEIGHTS, strict=False)
        )
        together = summed(list(zip(ops[:count], WEIGHTS, strict=False)))
        torch.testing.assert_close(together.apply_(x, y.clone(), torch.clone), expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("index", range(BLENDABLE))
def test_weight_one_of_one_adapter_is_that_adapter(case: Case, index: int) -> None:
    adapter = list(case.adapters.values())[index]
    own, blended = rows(case, adapter, Blend.of([(adapter, 1.0)]))
    assert own.tokens == blended.tokens
    assert torch.allclose(own.logits, blended.logits, atol=1e-5 * float(own.logits.abs().max()))


def test_weights_of_zero_are_the_base(case: Case) -> None:
    blended, base = rows(case, blend(case, 0.0, -0.0, 0.0), others=[asked(case, "")])
    assert base.tokens == blended.tokens
    assert torch.allclose(base.logits, blended.logits, atol=1e-6 * float(base.logits.abs().max()))


def test_neighbours_of_any_method_change_no_bit(case: Case, tmp_path: Path) -> None:
    held = replace(case, base=BaseModel.load(str(case.folder), quantization="int8"))
    if held.base.kernels is None:
        pytest.skip("without the kernels, a row's last bits depend on how many rows a matmul has")
    blends = [blend(case, *WEIGHTS), blend(case, 0.5, 0.5), blend(case, 0.5, 0.25)]
    alone = [rows(held, each)[0] for each in blends]
    together = rows(held, *blends, others=case.requests[: BLENDABLE + 3])
    for own, mixed in zip(alone, together, strict=False):
        assert own.tokens == mixed.tokens
        assert torch.equal(own.logits, mixed.logits)
    assert len({row.tokens for row in alone}) == 3


def test_the_same_blend_asked_for_otherwise_is_the_same(case: Case) -> None:
    first, second, third = list(case.adapters.values())[:3]
    one = Blend.of([(first, 0.1), (second, 0.2), (third, 0.0)])
    assert Blend.of([(third, -0.0), (second, 0.2), (first, 0.1)]).digest == one.digest
    others = [[(first, 0.1), (second, 0.2)], [(first, 0.2), (second, 0.1), (third, 0.0)], [(first, 0.1 + 2e-17)]]
    assert len({one.digest, *(Blend.of(other).digest for other in others)}) == 4
    with Engine(case.base, kv_tokens=1024) as engine:
        engine.register_adapter(one)
        request = replace(case.requests[3], adapter=one.digest)
        before = engine.generate([request])
        engine.register_adapter(Blend.of([(third, 0.0), (second, 0.2), (first, 0.1)]))
        assert engine.generate([request]) == before
        assert engine.stats().reused_tokens >= len(request.prompt_ids) // 16 * 16 > 0
        assert [status.method for status in engine.adapters()] == ["blend"]


@pytest.mark.parametrize(
    ("weights", "field"),
    [
        ([], "blend.adapters"),
        ([1.0] * 9, "blend.adapters"),
        ([1.0, 4.1], "blend.adapters.1.weight"),
        ([float("nan")], "blend.adapters.0.weight"),
    ],
)
def test_weights_out_of_range_are_named(case: Case, weights: list[float], field: str) -> None:
    adapter = next(iter(case.adapters.values()))
    with pytest.raises(InvalidInputError, match=field) as caught:
        Blend.of([(replace(adapter, digest=str(index)), weight) for index, weight in enumerate(weights)])
    assert caught.value.field == field


@pytest.mark.parametrize("index", range(BLENDABLE, len(RECIPES)))
def test_what_is_no_low_rank_update_everywhere_is_refused_by_name(case: Case, index: int) -> None:
    adapters = list(case.adapters.values())
    with (
        Engine(case.base, kv_tokens=256) as engine,
        pytest.raises(UnsupportedAdapterError, match=adapters[index].digest) as caught,
    ):
        engine.load_adapter(Blend.of([(adapters[0], 1.0), (adapters[index], 1.0)]))
    assert "blended" in str(caught.value)


def test_blends_come_and_go_like_adapters_and_change_no_token(case: Case) -> None:
    blends = [blend(case, weight, 1 - weight) for weight in (0.1, 0.4, 0.5, 0.8)]
    requests = [replace(request, adapter=each.digest) for each in blends for request in case.requests[:2]]
    with Engine(case.base, kv_tokens=2048) as engine:
        for each in blends:
            engine.load_adapter(each)
        sizes = {status.nbytes for status in engine.adapters()}
        expected = [engine.generate([request])[0] for request in requests]
    (size,) = sizes
    for host_bytes in (0, 1 << 20):
        with engine_with_room(case, size, host_bytes) as engine:
            for each in blends:
                engine.register_adapter(each)
            order = random.Random(0).sample([*range(len(requests))] * 2, k=16)
            assert engine.generate([requests[index] for index in order]) == [expected[index] for index in order]
            assert engine.stats().evictions >= len(blends) - 1
            assert {status.tier for status in engine.adapters()} == {"resident", "host" if host_bytes else "disk"}


def test_an_adapter_that_is_removed_takes_its_blends_along(case: Case) -> None:
    adapters = list(case.adapters.values())
    kept, gone = Blend.of([(adapters[0], 1.0)]), Blend.of([(adapters[0], 1.0), (adapters[1], 1.0)])
    with Engine(case.base, kv_tokens=256) as engine:
        served: list[Servable] = [*adapters[:2], kept, gone]
        for each in served:
            engine.load_adapter(each)
        engine.unload_adapter(adapters[1].digest)
        engine.check_integrity()
        assert {status.digest for status in engine.adapters()} == {adapters[0].digest, kept.digest}
        with pytest.raises(AdapterNotFoundError):
            engine.generate([greedy([1], gone.digest, 1)])


def test_ever_new_blends_leave_nothing_behind(case: Case, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(adapter_pool, "MAX_BLENDS", 3)
    with Engine(case.base, kv_tokens=256) as engine:
        engine.pin_adapter(_registered(engine, blend(case, 4.0)))
        for step in range(8):
            engine.load_adapter(blend(case, step / 8))
        engine.check_integrity()
        assert [status.pinned for status in engine.adapters()] == [True, False, False]


def _registered(engine: Engine, chosen: Blend) -> str:
    engine.register_adapter(chosen)
    return chosen.digest


@pytest.fixture(scope="module")
def server(case: Case, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Serving]:
    folder = tmp_path_factory.mktemp("serving-blends")
    with serving(BaseModel.load(str(case.folder), quantization="none"), folder) as running:
        for index, (name, method) in enumerate([("a", "lora"), ("b", "lora"), ("c", "bottleneck")]):
            adapter = save_random_adapter(folder / name, method, case.base.shape, seed=index)
            running.store.publish(adapter, f"team/{name}")
        yield running
        running.wait_idle()


def test_a_blend_is_served_over_grpc_and_says_what_it_is(server: Serving, case: Case) -> None:
    refs = {"team/a": 0.75, "team/b": -0.5}
    chosen = Blend.of([(server.store.resolve(ref), weight) for ref, weight in refs.items()])
    answer = server.client.generate("hello", blend=refs, max_new_tokens=9, logprobs=0)
    assert (answer.adapter, answer.adapter_digest) == ("0.75*team/a-0.5*team/b", chosen.digest)
    assert (answer.route.by, answer.route.adapter) == ("blend", answer.adapter)
    with Engine(case.base, kv_tokens=256) as engine:
        engine.load_adapter(chosen)
        tokens = server.client.tokenize("hello", adapter="team/a")
        (direct,) = engine.generate([Request(tokens, chosen.digest, Sampling(max_new_tokens=9, logprobs=0))])
    assert (answer.text, answer.token_ids) == (direct.text, direct.token_ids)

    async def other_order() -> tuple[str, tuple[int, ...]]:
        async with AioClient(server.address) as client:
            again = await client.generate("hello", blend={"team/b:latest": -0.5, "team/a": 0.75}, max_new_tokens=9)
            return again.adapter_digest, again.token_ids

    assert asyncio.run(other_order()) == (answer.adapter_digest, answer.token_ids)
    pieces = list(server.client.generate_stream("hello", blend=refs, max_new_tokens=9))
    assert pieces[0].adapter_digest == answer.adapter_digest
    counted = 'adapterhub_generated_tokens_total{adapter="other",method="blend"} 27.0'
    server.wait_until(lambda: counted in generate_latest(server.metrics.registry).decode())


@pytest.mark.parametrize(
    ("options", "error", "told"),
    [
        ({"blend": {}}, InvalidInputError, "blend.adapters: 0"),
        ({"blend": {"team/a": 9.0}}, InvalidInputError, "blend.adapters.0.weight"),
        ({"blend": {"team/a": 1.0, "no ref": 1.0}}, RefError, "'no ref' is not an adapter reference"),
        ({"blend": {"team/a": 1.0, "team/a:latest": 1.0}}, InvalidInputError, "blend.adapters.1.adapter"),
        ({"blend": {"team/a": 1.0, "team/z": 1.0}}, AdapterNotFoundError, "team/z"),
        ({"blend": {"team/a": 1.0}, "adapter": "team/a"}, InvalidInputError, "adapter: not accepted beside blend"),
        ({"blend": {"team/a": 1.0}, "task": "some"}, InvalidInputError, "task: not accepted beside blend"),
        ({"blend": {"team/a": 1.0, "team/c": 1.0}}, UnsupportedAdapterError, "bottleneck.*as of LoRA and AdaLoRA"),
        ({"blend": {"team/a": "much"}}, InvalidInputError, "blend: "),
    ],
)
def test_a_blend_that_cannot_be_is_refused_by_name(
    server: Serving, options: dict[str, object], error: type[AdapterHubError], told: str
) -> None:
    with pytest.raises(error, match=told):
        server.client.generate("hello", max_new_tokens=1, **options)  # type: ignore[arg-type]


def test_adapters_of_different_prompt_formats_need_one_of_the_request(server: Serving) -> None:
    plain, chat = (PromptFormat.of(server.engine.base.tokenizer, kind) for kind in ("raw", "chat"))
    assert plain != chat
    formats = (plain, plain, chat)
    one, same, other = (str(server.publish(f"team/{i}", prompt_format=each)) for i, each in enumerate(formats))
    assert server.client.generate("hello", blend={one: 0.5, same: 0.5}, max_new_tokens=1).usage.prompt_tokens
    with pytest.raises(InvalidInputError, match=r"prompt_format: .*different"):
        server.client.generate("hello", blend={one: 0.5, other: 0.5}, max_new_tokens=1)
    assert server.client.generate("hello", blend={one: 0.5, other: 0.5}, kind="raw", max_new_tokens=1).token_ids


def test_an_adapter_that_is_unloaded_is_in_no_blend(server: Serving) -> None:
    server.publish("team/d")
    refs = {"team/a": 1.0, "team/d": 1.0}
    digest = server.client.generate("hello", blend=refs, max_new_tokens=1).adapter_digest
    server.client.unload("team/d")
    assert server.engine.adapter(digest) is None
    with pytest.raises(ConflictError, match="team/d was unloaded"):
        server.client.generate("hello", blend=refs, max_new_tokens=1)
