"""The engine: continuous batching of requests for many adapters over one base."""

from adapterhub.engine.engine import Engine
from adapterhub.engine.limits import Limits
from adapterhub.engine.request import Completion, Event, FinishReason, Request, Sampling, Steps, TokenLogprobs
from adapterhub.engine.stats import AdapterStatus, EngineStats, Tier

__all__ = [
    "AdapterStatus",
    "Completion",
    "Engine",
    "EngineStats",
    "Event",
    "FinishReason",
    "Limits",
    "Request",
    "Sampling",
    "Steps",
    "Tier",
    "TokenLogprobs",
]
