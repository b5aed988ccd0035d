"""What the engine promises besides equal rows: joining, leaving, refusing, and failing alone."""

from __future__ import annotations

import queue
import re
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from conftest import save_random_adapter
from torch import Tensor

from adapterhub import BaseShape, Method, MethodConfig, Param, Params, Site
from adapterhub.adapter import Adapter, BaseRecord, Provenance, read_folder
from adapterhub.base import BaseModel
from adapterhub.engine import Engine, Event, Request, Sampling
from adapterhub.engine.seats import Seats
from adapterhub.errors import (
    AdapterNotFoundError,
    BaseMismatchError,
    EngineStoppedError,
    InvalidInputError,
    PluginError,
    QueueFullError,
    UnsupportedAdapterError,
)
from adapterhub.method import BaseWeights
from adapterhub.plugins import Methods, installed_methods
from adapterhub.testing.equality import held

PROMPT = (10, 20, 30, 40)


@pytest.fixture(scope="module")
def base(tiny_base: Path) -> BaseModel:
    return BaseModel.load(str(tiny_base), quantization="none")


@pytest.fixture
def engine(base: BaseModel) -> Iterator[Engine]:
    with Engine(base, kv_tokens=1024, step_tokens=32) as engine:
        yield engine
        engine.check_integrity()


def adapter(folder: Path, method: str, base: BaseModel, digest: str, **options: Any) -> Adapter:
    return replace(read_folder(save_random_adapter(folder, method, base.shape, **options)), digest=digest)


def options(count: int = 8, **values: Any) -> Sampling:
    return Sampling(max_new_tokens=count, ignore_eos=True, **values)


class Inbox(queue.SimpleQueue[Event]):
    """Receives a request's events."""

    def __call__(self, event: Event) -> None:
        self.put(event)

    def last(self) -> Event:
        while True:
            event = self.get(timeout=60)
            if event.finish_reason:
                return event


def test_a_request_starts_while_another_runs(engine: Engine) -> None:
    long, short = Inbox(), Inbox()
    engine.submit(Request(PROMPT, sampling=options(400)), long)
    long.get(timeout=60)
    engine.submit(Request(PROMPT, sampling=options(2)), short)
    assert short.last().finish_reason == "length"
    assert engine.stats().running == 1, "the long request must still be running"
    assert long.last().finish_reason == "length"


def test_cancel_frees_the_cache(engine: Engine) -> None:
    inbox = Inbox()
    request_id = engine.submit(Request(PROMPT, sampling=options(400)), inbox)
    inbox.get(timeout=60)
    engine.cancel(request_id)
    assert inbox.last().finish_reason == "cancelled"
    engine.check_integrity()
    assert engine.stats().kv_tokens_free == engine.stats().kv_tokens_total


def test_a_waiting_request_can_be_cancelled(engine: Engine) -> None:
    running, waiting = Inbox(), Inbox()
    first = engine.submit(Request(PROMPT, sampling=options(500)), running)
    second = engine.submit(Request(PROMPT, sampling=options(500)), Inbox())
    engine.cancel(engine.submit(Request(PROMPT, sampling=options(500)), waiting))
    assert waiting.last() == Event((), "cancelled")
    engine.cancel(first)
    engine.cancel(second)


def test_end_of_sequence_stops_unless_ignored(engine: Engine, base: BaseModel) -> None:
    tokens = engine.generate([Request(PROMPT, sampling=options(200))])[0].token_ids
    eos = base.tokenizer.eos_token_id
    stopped = engine.generate([Request(PROMPT, sampling=Sampling(max_new_tokens=200))])[0]
    expected = tokens[: tokens.index(eos) + 1] if eos in tokens else tokens
    assert stopped.token_ids == expected
    assert stopped.finish_reason == ("stop" if eos in tokens else "length")


def test_sampled_tokens_depend_on_the_seed_and_not_on_neighbours(engine: Engine) -> None:
    def request(seed: int) -> Request:
        return Request(PROMPT, sampling=options(12, temperature=1.0, top_p=0.95, top_k=50, seed=seed))

    alone = [engine.generate([request(seed)])[0] for seed in range(6)]
    assert engine.generate([request(seed) for seed in range(6)]) == alone
    assert len({completion.token_ids for completion in alone}) == 6


@pytest.mark.parametrize(
    ("request_", "message"),
    [
        (Request(()), "prompt: empty"),
        (Request((1, 258)), "from 0 to 257"),
        (Request((1, -1)), "from 0 to 257"),
        (Request((1,) * 400, sampling=options(200)), "400 prompt \\+ 200 new tokens are 600, over the context of 512"),
    ],
)
def test_impossible_requests_are_refused_with_the_numbers(engine: Engine, request_: Request, message: str) -> None:
    with pytest.raises(InvalidInputError, match=message):
        engine.submit(request_, Inbox())


def test_without_a_seat_a_request_is_told_when_to_try_again(base: BaseModel) -> None:
    with Engine(base, max_requests=2, kv_tokens=1024) as engine:
        with held(engine):
            for _ in range(2):
                engine.submit(Request(PROMPT, sampling=options(2)), Inbox())
            with pytest.raises(QueueFullError, match=r"^2 requests are waiting or running; try again in [0-9.]+ s$"):
                engine.submit(Request(PROMPT), Inbox())
        assert len(engine.generate([Request(PROMPT, sampling=options(2))] * 9)) == 9


@pytest.mark.parametrize(
    ("times", "now", "seconds"), [((), 9, 1), ((0, 2, 4, 6), 8, 2), ((0,), 0, 0.1), ((0,), 999, 60)]
)
def test_the_time_to_try_again_is_how_fast_requests_have_ended(
    times: tuple[float, ...], now: float, seconds: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    seats = Seats(1)
    for end in times:
        seats.take(wait=False)
        monkeypatch.setattr("adapterhub.engine.seats.time.monotonic", lambda end=end: end)
        seats.give_back()
    seats.take(wait=False)
    monkeypatch.setattr("adapterhub.engine.seats.time.monotonic", lambda: now)
    with pytest.raises(QueueFullError) as refused:
        seats.take(wait=False)
    assert refused.value.retry_after == seconds


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")  # it is what stops the engine
def test_an_idle_engine_that_has_lost_a_block_stops(base: BaseModel) -> None:
    with Engine(base, kv_tokens=1024) as engine:
        engine._loop._pool._free.pop()
        engine._thread.join(60)
        assert not engine.alive
        with pytest.raises(EngineStoppedError):
            engine.submit(Request(PROMPT), Inbox())


def test_an_unknown_adapter_is_refused(engine: Engine) -> None:
    with pytest.raises(AdapterNotFoundError, match="sha256:none"):
        engine.submit(Request(PROMPT, "sha256:none"), Inbox())


def test_an_unloaded_adapter_finishes_what_began_and_takes_no_more(
    engine: Engine, base: BaseModel, tmp_path: Path
) -> None:
    engine.load_adapter(adapter(tmp_path, "lora", base, "sha256:a", r=2))
    inbox = Inbox()
    engine.submit(Request(PROMPT, "sha256:a", options(300)), inbox)
    inbox.get(timeout=60)
    engine.unload_adapter("sha256:a")
    assert engine.adapters() == []
    with pytest.raises(AdapterNotFoundError):
        engine.submit(Request(PROMPT, "sha256:a"), Inbox())
    assert inbox.last().finish_reason == "length"


def test_a_request_keeps_its_adapter_when_another_version_is_loaded(
    engine: Engine, base: BaseModel, tmp_path: Path
) -> None:
    old = adapter(tmp_path / "old", "lora", base, "sha256:old", r=2)
    engine.load_adapter(old)
    request = Request(PROMPT, "sha256:old", options(60))
    alone = engine.generate([request])[0]
    inbox = Inbox()
    engine.submit(request, inbox)
    tokens = [*inbox.get(timeout=60).token_ids]
    engine.load_adapter(adapter(tmp_path / "new", "lora", base, "sha256:new", r=2, seed=9))
    engine.unload_adapter("sha256:old")
    while len(tokens) < 60:
        tokens += inbox.get(timeout=60).token_ids
    assert tuple(tokens) == alone.token_ids


def test_a_closed_engine_refuses_and_ends_what_ran(base: BaseModel) -> None:
    inbox = Inbox()
    with Engine(base, kv_tokens=1024) as engine:
        engine.submit(Request(PROMPT, sampling=options(500)), inbox)
    assert inbox.last().finish_reason == "cancelled"
    with pytest.raises(EngineStoppedError):
        engine.submit(Request(PROMPT), Inbox())


def test_a_receiver_that_raises_ends_only_its_own_request(engine: Engine) -> None:
    def broken(event: Event) -> None:
        raise RuntimeError("receiver")

    engine.submit(Request(PROMPT, sampling=options(50)), broken)
    assert engine.generate([Request(PROMPT, sampling=options(4))])[0].finish_reason == "length"
    engine.check_integrity()


def test_an_adapter_of_another_base_is_refused_naming_the_first_key(
    engine: Engine, other_base: Path, tmp_path: Path
) -> None:
    other = BaseModel.load(str(other_base), quantization="none")
    with pytest.raises(BaseMismatchError, match=r"layers\.0\.mlp\.down_proj\.lora_A\.weight: the file has \(8, 96\)"):
        engine.load_adapter(adapter(tmp_path, "lora", other, "sha256:other"))


def test_an_adapter_made_on_other_weights_of_the_same_shape_is_refused(
    engine: Engine, base: BaseModel, tmp_path: Path
) -> None:
    made = adapter(tmp_path, "lora", base, "sha256:a")
    record = BaseRecord(id="elsewhere", digest=f"sha256:{'1' * 64}")
    with pytest.raises(BaseMismatchError, match="made on elsewhere"):
        engine.load_adapter(replace(made, provenance=Provenance(method="lora", base=record)))


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"peft_type": "NOVEL"}, "no installed method serves peft_type 'NOVEL'"),
        ({"task_type": "SEQ_CLS"}, "task_type 'SEQ_CLS'; served: CAUSAL_LM"),
        ({"trainable_token_indices": [3]}, "trainable_token_indices"),
        ({"layer_replication": [[0, 2], [1, 3]]}, "layer_replication"),
        ({"layers_to_transform": [0]}, "layers_to_transform"),
        ({"init_lora_weights": "pissa"}, "init_lora_weights"),
    ],
)
def test_what_is_not_served_is_refused_by_name(
    engine: Engine, base: BaseModel, tmp_path: Path, changed: dict[str, Any], message: str
) -> None:
    made = adapter(tmp_path, "lora", base, "sha256:a")
    with pytest.raises(UnsupportedAdapterError, match=message):
        engine.load_adapter(replace(made, config={**made.config, **changed}))


class ScaleConfig(MethodConfig):
    """No options."""


class ScaleInput(Method[ScaleConfig]):
    """x * s before every q_proj: a method that changes a module's input."""

    name = "scale_input"
    peft_type = "SCALE_INPUT"
    Config = ScaleConfig

    def sites(self, config: ScaleConfig, shape: BaseShape) -> list[Site]:
        names = [name for name in shape.linears if name.endswith("q_proj")]
        return [Site("module", {"scale": Param((shape.hidden_size,))}, module=name) for name in names]

    def pre(self, config: ScaleConfig, p: Params, x: Tensor) -> Tensor:
        return x * p["scale"]


class RaisesConfig(MethodConfig):
    at: str
    """The function that has the bug."""


class Raises(Method[RaisesConfig]):
    """A plugin with a bug."""

    name = "raises"
    peft_type = "RAISES"
    Config = RaisesConfig

    def sites(self, config: RaisesConfig, shape: BaseShape) -> list[Site]:
        self._meet(config, "sites")
        params = {"scale": Param((shape.hidden_size,))}
        if config.at in ("kv", "prompt"):
            return [Site("kv" if config.at == "kv" else "prompt", params, virtual_tokens=1)]
        tap = shape.lm_head if config.at == "tap" else ""  # runs behind the site
        return [Site("module", params, module=shape.mlp_outputs[0], tap=tap, replaces=config.at == "replace")]

    def _meet(self, config: RaisesConfig, function: str) -> None:
        if config.at == function:
            raise ZeroDivisionError("oops")

    def bind(self, config: RaisesConfig, site: Site, p: Params, base: BaseWeights) -> Params:
        self._meet(config, "bind")
        return p

    def pre(self, config: RaisesConfig, p: Params, x: Tensor) -> Tensor:
        self._meet(config, "pre")
        return x

    def post(self, config: RaisesConfig, p: Params, x: Tensor, y: Tensor) -> Tensor:
        self._meet(config, "post")
        return y[:-1] if config.at == "shape" else y

    def replace(self, config: RaisesConfig, p: Params, x: Tensor) -> Tensor:
        raise ZeroDivisionError("oops")

    def prompt(self, config: RaisesConfig, p: Params) -> Tensor:
        raise ZeroDivisionError("oops")

    def kv(self, config: RaisesConfig, p: Params, shape: BaseShape) -> Tensor:
        raise ZeroDivisionError("oops")


@pytest.fixture
def strangers(monkeypatch: pytest.MonkeyPatch) -> Methods:
    """The installed methods and two of a stranger's."""
    found = installed_methods()
    extra: list[Method[Any]] = [ScaleInput(), Raises()]
    methods = Methods({**found.by_name, **{method.name: method for method in extra}}, found.plugins)
    monkeypatch.setattr("conftest.installed_methods", lambda: methods)
    return methods


@pytest.mark.parametrize(
    ("at", "message"),
    [
        ("pre", "method 'raises': ZeroDivisionError: oops"),
        ("post", "method 'raises': ZeroDivisionError: oops"),
        ("replace", "method 'raises': ZeroDivisionError: oops"),
        ("shape", r"method 'raises': .*gave \(3, 32\) for rows of \(4, 32\)"),
        ("tap", "method 'raises': .*the rows of lm_head are not those of model.layers.0.mlp"),
    ],
)
def test_a_method_that_raises_in_a_step_fails_only_its_own_requests(
    base: BaseModel, strangers: Methods, tmp_path: Path, at: str, message: str
) -> None:
    request = Request(PROMPT, sampling=options(6))
    with Engine(base, methods=strangers, kv_tokens=1024) as engine:
        alone = engine.generate([request])[0]
        engine.load_adapter(adapter(tmp_path, "raises", base, "sha256:raises", at=at))
        bad, good = Inbox(), Inbox()
        engine.submit(Request(PROMPT, "sha256:raises", options(6)), bad)
        engine.submit(request, good)
        assert isinstance(error := bad.last().error, PluginError)
        assert re.search(message, str(error))
        assert good.last().finish_reason == "length"
        assert engine.generate([request])[0] == alone
        assert engine.tally.plugin_errors() == {"raises": 1}
        engine.check_integrity()


@pytest.mark.parametrize("at", ["sites", "bind", "prompt", "kv"])
def test_a_method_that_raises_at_load_is_named_and_the_engine_lives(
    base: BaseModel, strangers: Methods, tmp_path: Path, at: str
) -> None:
    made = adapter(tmp_path, "raises", base, "sha256:raises", at="kv" if at in ("kv", "prompt") else "post")
    with Engine(base, methods=strangers, kv_tokens=1024) as engine:
        with pytest.raises(PluginError, match="method 'raises': ZeroDivisionError: oops"):
            engine.load_adapter(replace(made, config={**made.config, "at": at}))
        assert [status.tier for status in engine.adapters()] == ["failed"]
        assert engine.tally.loads() == {PluginError: 1}
        assert engine.tally.plugin_errors() == {"raises": 1}
        assert engine.generate([Request(PROMPT, sampling=options(2))])[0].finish_reason == "length"
        engine.check_integrity()


def test_a_method_may_change_a_modules_input(base: BaseModel, strangers: Methods, tmp_path: Path) -> None:
    scaled, plain = Request(PROMPT, "sha256:scale", options(8)), Request(PROMPT, sampling=options(8))
    with Engine(base, methods=strangers, kv_tokens=1024) as engine:
        engine.load_adapter(adapter(tmp_path, "scale_input", base, "sha256:scale", scale=2.0))
        alone = [engine.generate([request])[0] for request in (scaled, plain)]
        assert engine.generate([scaled, plain, scaled]) == [alone[0], alone[1], alone[0]]
        assert alone[0] != alone[1]
