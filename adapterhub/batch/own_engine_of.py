"""The own engine that a batch needs, with what can be told before its base loads told before."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from adapterhub.asking import OwnEngine
from adapterhub.asking.own_engine import BASE
from adapterhub.base.resolve import resolve_base
from adapterhub.batch.asker import Asker
from adapterhub.batch.config import BatchConfig
from adapterhub.batch.engine_asker import EngineAsker
from adapterhub.batch.input import Checked
from adapterhub.batch.record import BatchRecord
from adapterhub.batch.usable import at_line
from adapterhub.errors import AdapterHubError, ConfigError
from adapterhub.store import Store


@contextmanager
def own_engine_of(config: BatchConfig, checked: Checked, record: BatchRecord | None) -> Iterator[Asker]:
    """Runs inside. Raises as `OwnEngine.load`, and for the first adapter that is not there unless `skip_bad`."""
    store = Store.default()
    before = record.adapters if record else {}
    refs = {ref: before.get(ref, ref) for ref in checked.refs}
    base = config.base or _recorded_base(store, list(refs.values()))
    if not config.skip_bad:
        bases = {"", BASE, base, resolve_base(base).id}
        for ref, wanted in refs.items():
            if wanted not in bases:
                with at_line(config.input, checked, ref):
                    store.pin(wanted)
    own = OwnEngine.load(
        base,
        store,
        quantization=config.quantize,
        max_sequences=config.max_sequences,
        max_requests=2 * EngineAsker.window_of(config.max_sequences),  # a seat is given back after the last event
    )
    with own:
        yield EngineAsker(own)


def _recorded_base(store: Store, refs: list[str]) -> str:
    """What base the first adapter that records one was made on. Raises ConfigError when none does."""
    for ref in refs:
        try:
            adapter = store.describe(ref)
        except AdapterHubError:
            continue
        if adapter.base is not None:
            return adapter.base.ref
    raise ConfigError("base: no adapter of the input records it; say where it is with --base", field="base")
