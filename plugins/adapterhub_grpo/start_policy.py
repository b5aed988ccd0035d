"""The policy that a run started from."""

from __future__ import annotations

from typing import Any


class StartPolicy:
    """The model with the values that what it learns has when this is made: a copy of the adapter, not of the base."""

    def __init__(self, model: Any) -> None:
        self._model = model
        self._start = [(tensor, tensor.detach().clone()) for tensor in model.parameters() if tensor.requires_grad]

    def __call__(self, **inputs: Any) -> Any:
        """What the model gave for these inputs then, without dropout. No gradient may be wanted of it."""
        now = [tensor.data for tensor, _ in self._start]
        training = self._model.training
        self._model.eval()
        try:
            for tensor, values in self._start:
                tensor.data = values
            return self._model(**inputs)
        finally:
            for (tensor, _), values in zip(self._start, now, strict=True):
                tensor.data = values
            self._model.train(training)
