"""An engine of this process's own, with the store's adapters behind it."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Self

from adapterhub.adapter import Adapter
from adapterhub.asking.question import Question
from adapterhub.base import BaseModel
from adapterhub.base.quantize import Quantization
from adapterhub.engine import Blend, Engine, Request, Sampling, Servable
from adapterhub.errors import AdapterHubError, BaseMismatchError, ConfigError, InvalidInputError
from adapterhub.prompt_format import PromptFormat
from adapterhub.store import AdapterRef, Store

BASE = "base"
"""What the bare base is called where a name is needed."""


class OwnEngine:
    """Takes questions about adapters by name. A context: inside it the engine runs."""

    def __init__(
        self,
        base: BaseModel,
        store: Store,
        *,
        names: Iterable[str] = (),
        max_sequences: int = 32,
        max_requests: int = 1024,
    ) -> None:
        """`names` are what the base is called beside its id. Raises as `Engine`."""
        self.base = base
        self.engine = Engine(base, max_sequences=max_sequences, max_requests=max_requests)
        self.base_names = frozenset({BASE, base.record.id, *names})
        self._store = store
        self._adapters: dict[str, tuple[Adapter, int]] = {}
        """By pinned reference: read, and known to the engine; with its virtual tokens."""

    @classmethod
    def load(
        cls,
        ref: str,
        store: Store,
        *,
        quantization: Quantization | None = None,
        max_sequences: int = 32,
        max_requests: int = 1024,
    ) -> Self:
        """Over base `ref`. Raises as `BaseModel.load` and `Engine`."""
        base = BaseModel.load(ref, quantization=quantization)
        return cls(base, store, names=(ref,), max_sequences=max_sequences, max_requests=max_requests)

    def __enter__(self) -> Self:
        self.engine.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.engine.close()

    def load_adapter(self, ref: AdapterRef | str) -> AdapterRef:
        """Read and check an adapter and make it resident; its pinned reference.

        Raises as `Store.resolve` and `Engine.load_adapter`, and BaseMismatchError for another chat template.
        """
        pinned = self._store.pin(ref)
        if (key := str(pinned)) not in self._adapters:
            adapter = self._store.resolve(pinned)
            try:
                adapter.check_base(self.base.record)
                self._recorded(adapter)
            except AdapterHubError as error:
                raise BaseMismatchError(f"{pinned.label}: {error}") from None
            self.engine.load_adapter(adapter)
            self._adapters[key] = adapter, self.engine.virtual_tokens(adapter)
        return pinned

    def names_still(self, ref: str, pinned: str) -> bool:
        """Whether a reference names what it did when it was pinned."""
        try:
            return str(self._store.pin(ref)) == pinned
        except AdapterHubError:
            return False

    def request(self, question: Question) -> Request:
        """The question as the engine takes it; its adapter is as `load_adapter` gave it, or none.

        Raises InvalidInputError naming the field, also for what the context has no room for.
        """
        adapter, virtual = self._served(question)
        sampling = Sampling.load(question.sampling, where="sampling")
        request = Request(
            self._encode(question, adapter), adapter.digest if adapter else "", sampling, structure=question.structure
        )
        self._check_length(request, virtual)
        return request

    def _served(self, question: Question) -> tuple[Servable | None, int]:
        """What answers, known to the engine, and its virtual tokens. Raises InvalidInputError for no such blend."""
        if not question.blend:
            return self._adapters[question.adapter] if question.adapter else (None, 0)
        if question.adapter:
            raise InvalidInputError("adapter: not accepted beside blend", field="adapter")
        blend = Blend.of([(self._adapters[ref][0], weight) for ref, weight in question.blend])
        self.engine.register_adapter(blend)
        return blend, 0

    def _encode(self, question: Question, adapter: Servable | None) -> tuple[int, ...]:
        prompt, tokenizer = question.prompt, self.base.tokenizer
        if isinstance(prompt, str):
            return tuple(self._format(question, adapter).encode_prompt(tokenizer, prompt))
        turns = [each for each in prompt if not isinstance(each, int)]
        if turns:
            return tuple(self._format(question, adapter).encode_turns(tokenizer, turns))
        return tuple(each for each in prompt if isinstance(each, int))

    def _format(self, question: Question, adapter: Servable | None) -> PromptFormat:
        if question.kind is not None or question.system_prompt is not None:
            return PromptFormat.of(self.base.tokenizer, question.kind or "chat", question.system_prompt)
        recorded = self._recorded(adapter) if adapter else None
        return recorded or PromptFormat.of(self.base.tokenizer, "chat" if self.base.tokenizer.chat_template else "raw")

    def _recorded(self, adapter: Servable) -> PromptFormat | None:
        if (recorded := adapter.prompt_format) is not None:
            try:
                recorded.check(self.base.tokenizer)
            except ConfigError as error:
                raise BaseMismatchError(str(error)) from None
        return recorded

    def _check_length(self, request: Request, virtual: int) -> None:
        """Before the engine does, which has no word for the virtual tokens of an adapter that is not resident."""
        if not request.prompt_ids:
            raise InvalidInputError("prompt: empty; need at least one token", field="prompt")
        prompt, new = len(request.prompt_ids), request.sampling.max_new_tokens
        if prompt + new + virtual > self.engine.limits.max_length:
            parts = f"{prompt} prompt + {new} new" + (f" + {virtual} virtual" if virtual else "")
            raise InvalidInputError(
                f"max_new_tokens: {parts} tokens are over {self.engine.limits.bound}", field="max_new_tokens"
            )
