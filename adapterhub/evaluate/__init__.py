"""Evaluation of adapters with the engine that serves them."""

from adapterhub.evaluate.accuracy import Accuracy, Trial, score

__all__ = ["Accuracy", "Trial", "score"]
