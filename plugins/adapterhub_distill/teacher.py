"""What a teacher says about given responses, asked once for all of a run.

The responses are given, so its answers never change: it is asked before training and let go of. What
is kept of each learned token is what goes into the teacher's head, `[hidden]`, from which the head,
which is kept too, gives the logits again; or the logits, `[vocab]`, where that is not exact.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from adapterhub import ConfigError, collate, learned_logits
from adapterhub.objective import IGNORED, Example

BATCH = 8
"""Rows that a teacher is asked about at once."""
EXACT = 1e-3
"""Most that logits may differ, as a share of the largest, to count as the head's own."""


class Head:
    """A model's last layer as it is now, whatever is trained of it later: [n, hidden] -> [n, vocab]."""

    def __init__(self, module: nn.Module) -> None:
        self._apply: Callable[[Tensor], Tensor] = module
        self._weight: Tensor | None = None
        self._bias: Tensor | None = None
        if type(module) is nn.Linear:  # others hold no weights that a gradient passes
            self._weight = module.weight.detach()
            self._bias = None if module.bias is None else module.bias.detach()

    def __call__(self, hidden: Tensor) -> Tensor:
        """Logits in fp32."""
        if self._weight is None:
            return self._apply(hidden).float()
        return functional.linear(hidden.to(self._weight), self._weight, self._bias).float()

    def keep_from(self, model: nn.Module) -> None:
        """Take a copy of weights that `model` is about to change in place."""
        trained = {parameter.data_ptr() for parameter in model.parameters() if parameter.requires_grad}
        if self._weight is not None and self._weight.data_ptr() in trained:
            self._weight = self._weight.clone()
        if self._bias is not None and self._bias.data_ptr() in trained:
            self._bias = self._bias.clone()


class Teacher:
    """A model that is asked, and the head that its answers are read with."""

    def __init__(self, model: Any, head: nn.Module, device: torch.device, *, name: str) -> None:
        """`head` is the model's bare last layer, which an adapter on it may wrap or replace."""
        self.head = Head(head)
        self._model = model
        self._module = head
        self._device = device
        self._name = name
        self.answers_hidden: bool | None = None
        """Whether its answers are what goes into the head; None before it was asked."""

    def ask(self, rows: Sequence[Example]) -> list[Tensor]:
        """Of each row, in the order of its learned tokens: [learned, hidden] or [learned, vocab], on the CPU.

        Raises ConfigError when a row is longer than the teacher's context.
        """
        longest, room = max((len(row["input_ids"]) for row in rows), default=0), self._room()
        if longest > room:
            raise ConfigError(
                f"teacher: {self._name} has {room} positions, and a row has {longest} tokens", field="teacher"
            )
        answers: list[Tensor] = [torch.empty(0)] * len(rows)
        by_length = sorted(range(len(rows)), key=lambda place: len(rows[place]["input_ids"]))
        for start in range(0, len(rows), BATCH):
            places = by_length[start : start + BATCH]
            said = self._ask([rows[place] for place in places])
            counts = [sum(label != IGNORED for label in rows[place]["labels"]) for place in places]
            for place, answer in zip(places, torch.split(said.cpu(), counts), strict=True):
                answers[place] = answer
        return answers

    def _ask(self, rows: Sequence[Example]) -> Tensor:
        batch = {name: tensor.to(self._device) for name, tensor in collate(rows).items()}
        seen: list[Tensor] = []
        hook = self._module.register_forward_pre_hook(lambda module, args: seen.append(args[0]))
        try:
            with torch.no_grad():
                logits, _ = learned_logits(self._model, batch)
        finally:
            hook.remove()
        hidden = _learned(seen[-1], batch["labels"]) if seen else None
        if self.answers_hidden is None:
            self.answers_hidden = hidden is not None and self._reads(hidden, logits)
        return hidden if hidden is not None and self.answers_hidden else logits

    def _room(self) -> float:
        """The positions that are left for tokens."""
        virtual = getattr(getattr(self._model, "active_peft_config", None), "num_virtual_tokens", None) or 0
        positions = getattr(self._model.config, "max_position_embeddings", None)
        return math.inf if positions is None else positions - virtual

    def _reads(self, hidden: Tensor, logits: Tensor) -> bool:
        """Whether the head alone gives the logits: nothing scales or caps them behind it, no adapter is on it."""
        with torch.no_grad():
            found = self.head(hidden)
        return found.shape == logits.shape and bool((found - logits).abs().max() <= EXACT * logits.abs().max())


def _learned(hidden: Tensor, labels: Tensor) -> Tensor:
    """Of what goes into the head, [rows, kept, hidden], the places that predict learned tokens: [learned, hidden]."""
    width = labels.shape[1] - 1
    kept = min(width, hidden.shape[1] - 1)  # fewer where the head is run from the first learned token on
    return hidden[:, -kept - 1 : -1][labels[:, -kept:] != IGNORED]
