"""The engine: continuous batching of requests for many adapters over one base."""

from adapterhub.engine.engine import AdapterStatus, Engine, EngineStats
from adapterhub.engine.request import Completion, Event, FinishReason, Request, Sampling

__all__ = [
    "AdapterStatus",
    "Completion",
    "Engine",
    "EngineStats",
    "Event",
    "FinishReason",
    "Request",
    "Sampling",
]
