"""The engine: continuous batching of requests for many adapters over one base."""

from adapterhub.engine.blend import BLEND, Blend, Servable
from adapterhub.engine.engine import Engine
from adapterhub.engine.limits import Limits
from adapterhub.engine.request import Completion, Event, FinishReason, Request, Sampling, Steps, TokenLogprobs
from adapterhub.engine.stats import AdapterStatus, EngineStats, Tier
from adapterhub.structure import Structure

__all__ = [
    "BLEND",
    "AdapterStatus",
    "Blend",
    "Completion",
    "Engine",
    "EngineStats",
    "Event",
    "FinishReason",
    "Limits",
    "Request",
    "Sampling",
    "Servable",
    "Steps",
    "Structure",
    "Tier",
    "TokenLogprobs",
]
