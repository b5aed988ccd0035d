"""The gRPC client. Imports no torch."""

from adapterhub.client.answers import (
    FinishReason,
    Generation,
    Piece,
    ResidentAdapter,
    ServerInfo,
    Stats,
    TokenLogprobs,
    Usage,
)
from adapterhub.client.client import DEFAULT_ADDRESS, Client
from adapterhub.client.requests import FormatKind, SamplingOptions

__all__ = [
    "DEFAULT_ADDRESS",
    "Client",
    "FinishReason",
    "FormatKind",
    "Generation",
    "Piece",
    "ResidentAdapter",
    "SamplingOptions",
    "ServerInfo",
    "Stats",
    "TokenLogprobs",
    "Usage",
]
