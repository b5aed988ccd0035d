"""Evaluation of adapters and of prompts, with the engine that serves them.

Settings and results import without torch; `evaluate` and `complete` bring it.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from adapterhub.evaluate.config import EvalConfig
from adapterhub.evaluate.evaluation import Difference, Evaluation, EvaluationRow, Sample
from adapterhub.evaluate.recording import check_recordable, record

if TYPE_CHECKING:
    from adapterhub.evaluate.completing import complete
    from adapterhub.evaluate.run import evaluate

__all__ = [
    "Difference",
    "EvalConfig",
    "Evaluation",
    "EvaluationRow",
    "Sample",
    "check_recordable",
    "complete",
    "evaluate",
    "record",
]

_HOMES = {"complete": "adapterhub.evaluate.completing", "evaluate": "adapterhub.evaluate.run"}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(_HOMES[name]), name)
