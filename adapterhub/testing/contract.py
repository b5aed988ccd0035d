"""What every method must hold, as one pytest class. A plugin's test is three lines:

    class TestMyMethod(MethodContract):
        method = MyMethod()
        options = {"rank": 4}

It needs no installed entry point and no network: the base is tiny, random, and made in pytest's
temporary folder. Every adapter has random nonzero values in all its tensors.

What is not covered: quantized bases, and families other than Llama.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, ClassVar

import pytest
import torch
from torch import Tensor

from adapterhub.adapter import CONFIG_FILE, PROVENANCE_FILE, TENSORS_FILE, Provenance, read_folder
from adapterhub.base import BaseModel, EmptyBase
from adapterhub.engine import Engine
from adapterhub.engine.resident_adapter import bind_sites, prepare
from adapterhub.errors import BaseMismatchError, UnsupportedAdapterError
from adapterhub.method import Method
from adapterhub.testing.contract_case import NEIGHBOUR, OTHER, OWN, ContractCase
from adapterhub.testing.equality import Row, assert_equal, greedy, recording_engine, run, teacher_forced
from adapterhub.testing.lowered import check_lowered
from adapterhub.testing.random_adapter import save_random_adapter
from adapterhub.testing.row_isolation import check_rows
from adapterhub.testing.tiny_base import save_tiny_llama

MOVES = 0.05
"""How far, at least, the adapter must move some logit of the base."""
TOLERANCE = 1e-4
"""How far the same logits may differ between two ways to compute them in fp32."""
STEP_TOKENS = 33
"""Rows of a step: fewer than most prompts, which are prefilled in chunks beside rows that decode."""


class MethodContract:
    """Subclass it under a name that starts with `Test`, and set `method` and `options`."""

    method: ClassVar[Method[Any]]
    options: ClassVar[Mapping[str, Any] | Sequence[Mapping[str, Any]]] = {}
    """The method's options; several sets of them run every test once each."""
    scale: ClassVar[float] = 0.1
    """Standard deviation of the random values in the adapter's tensors."""
    made_by_peft: ClassVar[bool] = False
    """Random adapters are PEFT's fresh ones with noise on what learns, for files that hold indices or copies."""
    starts_as_identity: ClassVar[bool] = True
    """The method promises that a fresh adapter changes nothing; one with virtual tokens never can."""

    def pytest_generate_tests(self, metafunc: pytest.Metafunc) -> None:
        if "case" in metafunc.fixturenames:
            sets = [self.options] if isinstance(self.options, Mapping) else list(self.options)
            names = [",".join(f"{key}={value}" for key, value in options.items()) or "defaults" for options in sets]
            metafunc.parametrize("case", sets, indirect=True, scope="class", ids=names)

    @pytest.fixture(scope="class")
    @classmethod
    def case(cls, request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> ContractCase:
        """The method with one set of options on a tiny base, and adapters of it."""
        folder = tmp_path_factory.mktemp("contract")
        return ContractCase.make(cls.method, request.param, folder, scale=cls.scale, made_by_peft=cls.made_by_peft)

    @pytest.fixture(scope="class")
    @classmethod
    def alone(cls, case: ContractCase) -> list[Row]:
        """What each of the case's requests gets with no neighbour."""
        with recording_engine(case.base, case.adapters, methods=case.methods) as (engine, recorder):
            return [run(engine, recorder, [request])[0] for request in case.requests]

    def test_a_fresh_adapter_is_the_identity(self, case: ContractCase) -> None:
        """Where the method promises it; elsewhere a fresh adapter gives finite numbers at least."""
        model = case.plain()
        bare = _logits(model)
        fresh = _logits(case.fresh(model))
        assert torch.isfinite(fresh).all()
        if self.starts_as_identity and not case.plan.virtual_tokens:
            torch.testing.assert_close(fresh, bare, atol=TOLERANCE, rtol=0)

    def test_the_plan_is_what_peft_creates(self, case: ContractCase, tmp_path: Path) -> None:
        adapted = case.fresh(case.plain())
        saved = case.save(adapted, tmp_path)
        saved.check_plan(case.plan, base="tiny")
        assert {site.kind for site in case.plan.sites} - {"shared"} <= set(self.method.site_kinds)
        assert saved.num_parameters == case.plan.num_parameters
        if not (self.method.in_peft and case.plan.virtual_tokens):  # there PEFT may train a network that it drops
            learning = sum(parameter.numel() for parameter in adapted.parameters() if parameter.requires_grad)
            assert learning == case.plan.num_trainable

    def test_only_its_own_tensors_learn(self, case: ContractCase) -> None:
        model = case.plain()
        base = {**dict(model.named_parameters()), **dict(model.named_buffers())}
        before = {name: tensor.detach().clone() for name, tensor in base.items()}
        adapted = case.shaken(case.fresh(model))
        learning = {name: tensor for name, tensor in adapted.named_parameters() if tensor.requires_grad}
        started = {name: tensor.detach().clone() for name, tensor in learning.items()}
        optimizer = torch.optim.SGD(learning.values(), lr=0.1)
        loss = adapted(input_ids=IDS, attention_mask=torch.ones_like(IDS), labels=IDS).loss
        extra = self.method.extra_loss(case.config, adapted)
        (loss if extra is None else loss + extra).backward()
        optimizer.step()
        assert [name for name, tensor in learning.items() if tensor.grad is None] == [], "no gradient reaches these"
        assert any(not torch.equal(tensor, started[name]) for name, tensor in learning.items()), "nothing learned"
        assert [name for name, tensor in base.items() if tensor.grad is not None] == [], "gradients on the base"
        assert [name for name, tensor in base.items() if not torch.equal(tensor, before[name])] == [], (
            "the base changed"
        )

    def test_saving_what_was_loaded_gives_the_same_bytes(self, case: ContractCase, tmp_path: Path) -> None:
        first = case.save(case.shaken(case.fresh(case.plain())), tmp_path / "first")
        second = case.save(case.loaded(tmp_path / "first"), tmp_path / "second")
        assert first.files[TENSORS_FILE].read_bytes() == second.files[TENSORS_FILE].read_bytes()
        plans = [
            self.method.plan(
                self.method.Config.from_peft(saved.config, where=str(saved.files[CONFIG_FILE])), case.base.shape
            )
            for saved in (first, second)
        ]
        assert plans[0].shapes() == plans[1].shapes() == case.plan.shapes()

    def test_its_resident_bytes_are_known_before_any_weight(self, case: ContractCase) -> None:
        """`bind` runs without values: on the meta device, where nothing may ask for one."""
        adapter = case.adapters[OWN]
        resident = prepare(adapter, adapter.read_tensors(), case.methods, case.base)
        empty = EmptyBase.read(str(case.base_folder))
        tensors = {key: torch.empty(size, device=empty.device) for key, size in case.plan.shapes().items()}
        assert bind_sites(self.method, case.config, case.plan, tensors, empty).nbytes == resident.nbytes

    def test_rows_do_not_see_each_other(self, case: ContractCase) -> None:
        for site in case.plan.sites:
            if site.kind == "module":
                check_rows(case, site)

    def test_a_lowered_site_computes_what_the_method_does(self, case: ContractCase) -> None:
        for site in case.plan.sites:
            if site.kind == "module":
                check_lowered(case, site)

    def test_the_adapter_moves_the_base(self, case: ContractCase, alone: list[Row]) -> None:
        others = {OWN: ("", OTHER), OTHER: ("", OWN)}
        with case.engine(STEP_TOKENS) as (engine, recorder):
            for request, row in zip(case.requests, alone, strict=True):
                for other in others.get(request.adapter, ()):
                    there = run(engine, recorder, [replace(request, adapter=other)])[0]
                    moved = float((row.logits[0] - there.logits[0]).abs().max())
                    what = "an adapter of other weights" if other else "the base"
                    assert moved >= MOVES, f"weights of scale {self.scale}: logits {moved:.3f} from those of {what}"

    def test_a_mixed_batch_gives_each_request_what_it_gets_alone(self, case: ContractCase, alone: list[Row]) -> None:
        with case.engine(STEP_TOKENS) as (engine, recorder):
            assert_equal(engine, recorder, case.requests, alone, tolerance=TOLERANCE)
            stats = engine.stats()
        assert stats.mixed_adapter_steps, "adapters never ran together"
        assert stats.mixed_method_steps, "methods never ran together"

    def test_order_and_neighbours_do_not_matter(self, case: ContractCase, alone: list[Row]) -> None:
        with case.engine(STEP_TOKENS) as (engine, recorder):
            assert_equal(engine, recorder, case.requests[::-1], alone[::-1], tolerance=TOLERANCE)
            assert_equal(engine, recorder, case.requests[1:4], alone[1:4], tolerance=TOLERANCE)

    def test_base_rows_are_bit_for_bit_those_of_the_bare_base(self, case: ContractCase) -> None:
        # On int8 a row of the base is the same to the bit however a step is laid out.
        if "int8" not in self.method.served_on:
            self._check_refused_on_int8(case)
            return
        base = BaseModel.load(str(case.base_folder), quantization="int8")
        bare = [request for request in case.requests if not request.adapter]
        engine = partial(recording_engine, base, step_tokens=STEP_TOKENS, methods=case.methods)
        with engine(case.adapters) as (mixed, recorder):
            rows = run(mixed, recorder, case.requests)
        with engine({}) as (alone, recorder):
            base_rows = run(alone, recorder, bare)
        together = [row for request, row in zip(case.requests, rows, strict=True) if not request.adapter]
        for row, base_row in zip(together, base_rows, strict=True):
            assert torch.equal(row.logits, base_row.logits), "an adapter changed rows of the base"

    def test_another_base_is_refused_naming_the_first_key(self, case: ContractCase, tmp_path: Path) -> None:
        other = BaseModel.load(str(save_tiny_llama(tmp_path / "base", hidden=40, layers=2)), quantization="none")
        wanted, has = case.plan.shapes(), self.method.plan(case.config, other.shape).shapes()
        folder = save_random_adapter(tmp_path / "adapter", self.method, case.config, other.shape)
        if wanted == has:  # its tensors fit any base: only the record can tell
            provenance = Provenance(method=self.method.name, base=other.record)
            (folder / PROVENANCE_FILE).write_text(provenance.model_dump_json())
            first = other.record.id
        else:
            first = min(key for key in wanted.keys() | has.keys() if wanted.get(key) != has.get(key))
        with Engine(case.base, methods=case.methods) as engine, pytest.raises(BaseMismatchError) as refused:
            engine.load_adapter(replace(read_folder(folder), digest="sha256:other-base"))
        assert first in str(refused.value)

    def test_peft_loads_what_we_save(self, case: ContractCase, alone: list[Row]) -> None:
        models = {digest: case.loaded(case.folders[digest]) for digest in (OWN, OTHER, NEIGHBOUR)}
        for request, row in zip(case.requests, alone, strict=True):
            if request.adapter:
                _assert_logits(row, teacher_forced(models[request.adapter].eval(), request, row))

    def test_we_load_what_peft_saves(self, case: ContractCase, tmp_path: Path) -> None:
        adapted = case.shaken(case.fresh(case.plain())).eval()
        saved = case.save(adapted, tmp_path)
        request = greedy(range(40, 60), OWN, 6)
        with recording_engine(case.base, {OWN: replace(saved, digest=OWN)}, methods=case.methods) as (engine, recorder):
            row = run(engine, recorder, [request])[0]
        _assert_logits(row, teacher_forced(adapted, request, row))

    def _check_refused_on_int8(self, case: ContractCase) -> None:
        base = BaseModel.load(str(case.base_folder), quantization="int8")
        with Engine(base, methods=case.methods) as engine, pytest.raises(UnsupportedAdapterError, match="int8"):
            engine.load_adapter(case.adapters[OWN])


IDS = torch.arange(20, 44).reshape(2, 12)


def _logits(model: torch.nn.Module) -> Tensor:
    """Of two short prompts, [2, 12, vocab]."""
    with torch.no_grad():
        result: Tensor = model(input_ids=IDS, attention_mask=torch.ones_like(IDS)).logits
    return result


def _assert_logits(row: Row, reference: Tensor) -> None:
    """What was served is PEFT's own, and each token is the likeliest but for ties."""
    torch.testing.assert_close(row.logits, reference, atol=TOLERANCE, rtol=0)
    chosen = reference.gather(1, torch.tensor(row.tokens).unsqueeze(1))[:, 0]
    assert bool((reference.max(dim=1).values - chosen <= TOLERANCE).all()), "PEFT's greedy tokens differ"
