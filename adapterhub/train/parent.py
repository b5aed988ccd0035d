"""The adapter that a run goes on with."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Self

from adapterhub.adapter import Adapter
from adapterhub.method import BaseShape, Method, MethodConfig
from adapterhub.plugins import fit, installed_methods, understand
from adapterhub.prompt_format import PromptFormat
from adapterhub.store import AdapterRef, Store


@dataclass(frozen=True)
class Parent:
    """A stored adapter, pinned to its digest, and what it is."""

    ref: AdapterRef
    adapter: Adapter
    method: Method[Any]
    options: MethodConfig
    """As it is served: what matters in training only is not among them."""

    @classmethod
    def of(cls, ref: str) -> Self:
        """The adapter of that name in the store.

        Raises as `Store.resolve`, and UnsupportedAdapterError naming what of it no installed method knows.
        """
        store = Store.default()
        pinned = store.pin(ref)
        adapter = store.resolve(pinned)
        method, options = understand(adapter, installed_methods())
        return cls(pinned, adapter, method, options)

    @property
    def preset(self) -> str:
        """What `--method` said when it was trained, where that is known."""
        record = self.adapter.provenance
        return str(record.training.get("preset", self.method.name)) if record else self.method.name

    @property
    def quantization(self) -> str:
        """How its base was held; empty where that is not known."""
        return self.adapter.provenance.quantization if self.adapter.provenance else ""

    @property
    def prompt_format(self) -> PromptFormat | None:
        """How its prompts became token ids, where that is known."""
        return self.adapter.prompt_format

    def check(self, shape: BaseShape, *, base: str) -> None:
        """Strict, from shapes alone: raises as `adapterhub.plugins.fit`."""
        fit(self.adapter, self.method, self.options, shape, base=base)
