"""Adapters come and go in memory: nobody waits for another's, none is lost, and no token changes."""

from __future__ import annotations

import itertools
import random
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, fields, replace
from pathlib import Path

import pytest
import torch
from cases import Case, tiny_case
from torch import Tensor

from adapterhub.adapter import Adapter
from adapterhub.engine import Engine, Event, Request, Sampling
from adapterhub.engine.adapter_pool import LOADERS
from adapterhub.errors import (
    AdapterHubError,
    AdapterNotFoundError,
    CorruptAdapterError,
    EngineStoppedError,
    UnavailableError,
)
from adapterhub.testing.equality import greedy, held


@pytest.fixture(scope="module")
def case(tiny_base: Path, tmp_path_factory: pytest.TempPathFactory) -> Case:
    return tiny_case(tiny_base, tmp_path_factory.mktemp("pool"), "int8")


@dataclass(frozen=True)
class Watched(Adapter):
    """An adapter whose reads are counted, and held back until `gate` is open."""

    gate: threading.Event = field(default_factory=threading.Event)
    reads: list[int] = field(default_factory=list)
    error: AdapterHubError | None = None

    def read_tensors(self) -> dict[str, Tensor]:
        self.reads.append(1)
        assert self.gate.wait(60)
        if self.error:
            raise self.error
        return super().read_tensors()


def watched(adapter: Adapter, *, is_open: bool = True, error: AdapterHubError | None = None) -> Watched:
    result = Watched(**{item.name: getattr(adapter, item.name) for item in fields(adapter)}, error=error)
    if is_open:
        result.gate.set()
    return result


class Inbox:
    """Receives one request's events."""

    def __init__(self) -> None:
        self.tokens: list[int] = []
        self.last: Event | None = None
        self.ended = threading.Event()

    def __call__(self, event: Event) -> None:
        self.tokens += event.token_ids
        if event.finish_reason:
            self.last = event
            self.ended.set()

    def wait(self) -> Event:
        assert self.ended.wait(60)
        assert self.last is not None
        return self.last


def wait_until(holds: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 60
    while not holds():
        assert time.monotonic() < deadline, "did not come true"
        time.sleep(0.002)


def resident_bytes(case: Case, digest: str) -> int:
    with Engine(case.base, kv_tokens=256) as engine:
        engine.load_adapter(case.adapters[digest])
        return engine.adapters()[0].nbytes


@contextmanager
def engine_with_room(case: Case, nbytes: int, host_bytes: int = 1 << 20) -> Iterator[Engine]:
    with Engine(case.base, kv_tokens=2048, adapter_bytes=nbytes, host_adapter_bytes=host_bytes) as engine:
        yield engine
        engine.check_integrity()


def test_more_adapters_than_fit_take_turns_and_change_no_token(case: Case) -> None:
    sizes = {digest: resident_bytes(case, digest) for digest in case.adapters}
    with Engine(case.base, kv_tokens=2048) as engine:
        for adapter in case.adapters.values():
            engine.load_adapter(adapter)
        alone = [engine.generate([request])[0] for request in case.requests]
    room = max(sizes.values())
    assert room < sum(sizes.values()) / 3
    with engine_with_room(case, room, host_bytes=room * 2 // 3) as engine:
        for adapter in case.adapters.values():
            engine.load_adapter(adapter)
        order = random.Random(0).choices(range(len(case.requests)), k=60)
        results = engine.generate([case.requests[index] for index in order])
        assert results == [alone[index] for index in order]
        assert engine.stats().evictions > 3
        engine.load_adapter(case.adapters[max(sizes, key=lambda digest: sizes[digest])])  # takes all the room
        assert {status.tier for status in engine.adapters()} == {"resident", "host", "disk"}


def test_a_cold_adapter_stalls_nobody_else(case: Case) -> None:
    digest, other = list(case.adapters)[:2]
    cold = watched(case.adapters[digest], is_open=False)
    with engine_with_room(case, 1 << 20) as engine:
        engine.load_adapter(case.adapters[other])
        engine._pool.register(cold)
        waiting = Inbox()
        engine.submit(greedy(range(5, 15), digest, 4), waiting)
        assert engine.generate([greedy(range(5, 15), other, 20)])[0].finish_reason == "length"
        assert not waiting.ended.is_set()
        cold.gate.set()
        assert waiting.wait().finish_reason == "length"


def test_all_who_wait_share_one_load(case: Case) -> None:
    digest = next(iter(case.adapters))
    cold = watched(case.adapters[digest], is_open=False)
    inboxes = [Inbox() for _ in range(8)]
    with engine_with_room(case, 1 << 20) as engine:
        engine._pool.register(cold)
        for inbox in inboxes:
            engine.submit(greedy(range(5, 15), digest, 2), inbox)
        cold.gate.set()
        assert {inbox.wait().finish_reason for inbox in inboxes} == {"length"}
    assert len(cold.reads) == 1


def test_a_request_that_waits_for_its_adapter_can_be_cancelled(case: Case) -> None:
    digest = next(iter(case.adapters))
    cold = watched(case.adapters[digest], is_open=False)
    with engine_with_room(case, 1 << 20) as engine:
        engine._pool.register(cold)
        inbox = Inbox()
        engine.cancel(engine.submit(greedy(range(5, 15), digest, 2), inbox))
        assert inbox.wait().finish_reason == "cancelled"
        cold.gate.set()
        assert engine.generate([greedy(range(5, 15), digest, 2)])[0].finish_reason == "length"
        engine.check_integrity()


def test_a_pinned_adapter_is_not_evicted(case: Case) -> None:
    first, second, third = list(case.adapters)[:3]
    room = resident_bytes(case, first) + max(resident_bytes(case, second), resident_bytes(case, third))
    with engine_with_room(case, room) as engine:
        engine.load_adapter(case.adapters[first])
        engine.pin_adapter(first)
        for digest in (second, third, second):
            engine.load_adapter(case.adapters[digest])
            tiers = {status.digest: status.tier for status in engine.adapters()}
            assert tiers[first] == tiers[digest] == "resident"
        engine.unpin_adapter(first)


def test_an_adapter_is_served_though_those_that_have_the_room_never_rest(case: Case) -> None:
    """Each of the two has three requests that overlap, so that at every moment both are in use."""
    digests = list(case.adapters)[:3]
    served = Inbox()
    with engine_with_room(case, sum(resident_bytes(case, digest) for digest in digests) - 1) as engine:

        def keep_busy(digest: str, count: int) -> None:
            def on_event(event: Event) -> None:
                if event.finish_reason == "length" and not served.last:
                    keep_busy(digest, count)

            engine.submit(greedy(range(5, 15), digest, count), on_event)

        for adapter in map(case.adapters.__getitem__, digests):
            engine.load_adapter(adapter)
        for digest, count in itertools.product(digests[:2], (20, 23, 27)):
            keep_busy(digest, count)
        engine.submit(greedy(range(5, 15), digests[2], 2), served)
        assert served.wait().finish_reason == "length"


def test_few_adapters_are_loaded_before_there_is_room_for_them(case: Case) -> None:
    running, *others = list(case.adapters)
    inboxes = [Inbox() for _ in others]
    with engine_with_room(case, resident_bytes(case, running)) as engine:
        engine.load_adapter(case.adapters[running])
        colds = {digest: watched(case.adapters[digest]) for digest in others}
        for cold in colds.values():
            engine._pool.register(cold)
        with held(engine):
            engine.submit(greedy(range(5, 15), running, 2), Inbox())
            for digest, inbox in zip(others, inboxes, strict=True):
                engine.submit(greedy(range(5, 15), digest, 2), inbox)
            wait_until(lambda: sum(len(cold.reads) for cold in colds.values()) == LOADERS)
            time.sleep(0.1)  # long enough for more to be read, were there no bound
            assert sum(len(cold.reads) for cold in colds.values()) == LOADERS
        assert {type(inbox.wait().error) for inbox in inboxes} <= {type(None), UnavailableError}, "too large, or served"


def test_no_more_adapters_leave_than_are_loaded_at_a_time(case: Case) -> None:
    """However many others are waited for, those whose turn it is not take requests."""
    one = next(iter(case.adapters.values()))
    busy = [replace(one, digest=f"sha256:busy-{index}") for index in range(LOADERS + 1)]
    colds = [watched(replace(one, digest=f"sha256:cold-{index}"), is_open=False) for index in range(LOADERS + 3)]
    running, waiting = [Inbox() for _ in busy], [Inbox() for _ in colds]
    with engine_with_room(case, len(busy) * resident_bytes(case, one.digest)) as engine:
        for adapter, inbox in zip(busy, running, strict=True):
            engine.load_adapter(adapter)
            engine.submit(greedy(range(5, 15), adapter.digest, 400), inbox)
        for cold, inbox in zip(colds, waiting, strict=True):
            engine._pool.register(cold)
            engine.submit(greedy(range(5, 15), cold.digest, 2), inbox)
        assert engine.generate([greedy(range(5, 15), busy[-1].digest, 2)])[0].finish_reason == "length"
        engine.submit(greedy(range(5, 15), busy[0].digest, 2), again := Inbox())
        engine.check_integrity()
        assert engine.stats().loading == len(colds) + 1, "the one unused longest takes no new request"
        assert not any(inbox.ended.is_set() for inbox in running)
        for cold in colds:
            cold.gate.set()
        assert {inbox.wait().finish_reason for inbox in (*running, *waiting, again)} == {"length"}


def test_a_request_for_an_adapter_that_was_to_leave_is_served_when_it_need_not(case: Case) -> None:
    first, second = list(case.adapters)[:2]
    running, waiting, again = Inbox(), Inbox(), Inbox()
    cold = watched(case.adapters[second], is_open=False)
    with engine_with_room(case, resident_bytes(case, first)) as engine:
        engine.load_adapter(case.adapters[first])
        engine._pool.register(cold)
        engine.submit(greedy(range(5, 15), first, 400), running)
        engine.submit(greedy(range(5, 15), second, 2), waiting)
        engine.submit(greedy(range(5, 15), first, 2), again)
        engine.check_integrity()
        assert engine.stats().loading == 2, "the first is to make room for the second"
        engine.unload_adapter(second)
        cold.gate.set()
        assert again.wait().finish_reason == "length"
        assert not running.ended.is_set()
        assert isinstance(waiting.wait().error, AdapterNotFoundError)


def test_an_adapter_larger_than_all_may_be_is_refused_with_the_numbers(case: Case) -> None:
    digest = next(iter(case.adapters))
    size = resident_bytes(case, digest)
    with (
        engine_with_room(case, size - 1) as engine,
        pytest.raises(UnavailableError, match=f"needs {size} bytes, all adapters may have {size - 1}"),
    ):
        engine.load_adapter(case.adapters[digest])


def test_a_failed_load_is_remembered_with_its_reason(case: Case) -> None:
    digest = next(iter(case.adapters))
    bad = watched(case.adapters[digest], error=CorruptAdapterError("this one is damaged"))
    with engine_with_room(case, 1 << 20) as engine:
        for _ in range(3):
            with pytest.raises(CorruptAdapterError, match="this one is damaged"):
                engine.load_adapter(bad)
        with pytest.raises(CorruptAdapterError, match="this one is damaged"):
            engine.submit(greedy(range(5, 15), digest, 2), Inbox())
        assert len(bad.reads) == 1


def test_a_load_that_ends_unexpectedly_is_told_to_those_who_wait(case: Case) -> None:
    digest = next(iter(case.adapters))
    gone = watched(case.adapters[digest], error=OSError("disk on fire"))  # type: ignore[arg-type]
    with engine_with_room(case, 1 << 20) as engine, pytest.raises(UnavailableError, match="OSError: disk on fire"):
        engine.load_adapter(gone)


def test_closing_tells_those_who_wait(case: Case) -> None:
    digest = next(iter(case.adapters))
    cold = watched(case.adapters[digest], is_open=False)
    waiting = Inbox()
    with Engine(case.base, kv_tokens=256) as engine:
        engine._pool.register(cold)
        engine.submit(greedy(range(5, 15), digest, 2), waiting)
        cold.gate.set()
    assert waiting.wait().finish_reason in ("cancelled", "length")
    with pytest.raises(EngineStoppedError):
        engine.submit(Request((1, 2), sampling=Sampling(max_new_tokens=1)), Inbox())
    with pytest.raises(EngineStoppedError):
        engine.load_adapter(next(reversed(case.adapters.values())))


def test_resident_bytes_are_the_adapters_own(case: Case) -> None:
    """What the kernels compute is held as they take it, and nothing else is held."""
    native = torch.float32 if case.base.kernels else case.base.row_dtype
    dtypes = {"lora": native, "bottleneck": native}
    for digest, adapter in case.adapters.items():
        if dtype := next((dtypes[method] for method in dtypes if method in digest), None):
            tensors = adapter.read_tensors().values()
            assert resident_bytes(case, digest) == sum(tensor.to(dtype).nbytes for tensor in tensors)
