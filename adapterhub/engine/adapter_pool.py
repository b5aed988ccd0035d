"""The resident adapters, by content digest."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from adapterhub.adapter import Adapter
from adapterhub.base import BaseModel
from adapterhub.errors import AdapterNotFoundError, BaseMismatchError, InvalidInputError, UnsupportedAdapterError
from adapterhub.method import Method, MethodConfig, Params
from adapterhub.plugins import Methods


@dataclass(eq=False)
class ResidentAdapter:
    """An adapter in memory, ready to run."""

    digest: str
    method: Method[Any]
    config: MethodConfig
    sites: Mapping[str, Params]
    """Module name -> the tensors kept there, by parameter name."""
    prompt: Tensor | None
    """Virtual embeddings, [virtual_tokens, hidden]."""
    virtual_tokens: int
    nbytes: int
    """Its own bytes; nothing is padded."""
    slot: int = 0
    """Given by the pool; rows of a step are sorted by it."""
    running: int = 0
    """Requests that hold it."""
    revoked: bool = False
    """Unloaded: takes no new request, freed when the last one ends."""


def prepare(adapter: Adapter, methods: Methods, base: BaseModel) -> ResidentAdapter:
    """Read, check and place an adapter for a base. Runs on any thread.

    Raises IntegrityError when the adapter does not fit or cannot be served exactly, and
    InvalidInputError when it has no digest.
    """
    if not adapter.digest:
        raise InvalidInputError("adapter has no digest; publish it to a store and resolve it there", field="adapter")
    name = adapter.digest
    if (task := adapter.config.get("task_type")) not in (None, "CAUSAL_LM"):
        raise UnsupportedAdapterError(f"adapter {name}: task_type {task!r}; served: CAUSAL_LM")
    method = methods.for_peft_type(adapter.peft_type)
    config = method.Config.from_peft(adapter.config, where=f"adapter {name}")
    plan = method.plan(config, base.shape)
    adapter.check_plan(plan, base=base.record.id)
    made_on = adapter.provenance.base if adapter.provenance else None
    if made_on is not None and made_on.digest != base.record.digest:
        raise BaseMismatchError(
            f"adapter {name} was made on {made_on.id} ({made_on.digest[:19]}), "
            f"this base is {base.record.id} ({base.record.digest[:19]})"
        )
    sites: dict[str, dict[str, Tensor]] = {}
    prompt_params: dict[str, Tensor] = {}
    for key, tensor in adapter.read_tensors().items():
        site, param = plan.tensor_keys[key]
        params = prompt_params if site.kind == "prompt" else sites.setdefault(site.module, {})
        params[param] = tensor.to(device=base.device, dtype=base.compute_dtype)
    tensors = [tensor for params in (*sites.values(), prompt_params) for tensor in params.values()]
    return ResidentAdapter(
        digest=adapter.digest,
        method=method,
        config=config,
        sites=sites,
        prompt=method.prompt(config, prompt_params) if prompt_params else None,
        virtual_tokens=plan.virtual_tokens,
        nbytes=sum(tensor.nbytes for tensor in tensors),
    )


class AdapterPool:
    """Owns the table of resident adapters. Safe to call from any thread.

    A request holds its adapter from `acquire` to `release`, so that an unloaded adapter stays until
    the requests that began with it end.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._by_digest: dict[str, ResidentAdapter] = {}
        self._draining: list[ResidentAdapter] = []
        self._next_slot = 1

    def add(self, adapter: ResidentAdapter) -> ResidentAdapter:
        """Make an adapter resident; the one already there when its digest is known."""
        with self._lock:
            if adapter.digest not in self._by_digest:
                adapter.slot = self._next_slot
                self._next_slot += 1
                self._by_digest[adapter.digest] = adapter
            return self._by_digest[adapter.digest]

    def acquire(self, digest: str) -> ResidentAdapter:
        """Hold an adapter for one request. Raises AdapterNotFoundError when it is not resident."""
        with self._lock:
            adapter = self._by_digest.get(digest)
            if adapter is None:
                raise AdapterNotFoundError(f"adapter {digest} is not loaded", resource=digest)
            adapter.running += 1
            return adapter

    def release(self, adapter: ResidentAdapter) -> None:
        """End one request's hold."""
        with self._lock:
            adapter.running -= 1
            if adapter.revoked and not adapter.running:
                self._draining.remove(adapter)

    def remove(self, digest: str) -> None:
        """Take no new request for an adapter. Raises AdapterNotFoundError when it is not resident."""
        with self._lock:
            adapter = self._by_digest.pop(digest, None)
            if adapter is None:
                raise AdapterNotFoundError(f"adapter {digest} is not loaded", resource=digest)
            adapter.revoked = True
            if adapter.running:
                self._draining.append(adapter)

    def resident(self) -> list[ResidentAdapter]:
        """The adapters that take requests, in the order they came."""
        with self._lock:
            return list(self._by_digest.values())

    def check_integrity(self) -> None:
        with self._lock:
            adapters = [*self._by_digest.values(), *self._draining]
            assert all(adapter.running >= 0 for adapter in adapters), "an adapter was released twice"
            assert all(adapter.running for adapter in self._draining), "a drained adapter was not freed"
            assert len({adapter.slot for adapter in adapters}) == len(adapters), "two adapters share a slot"
