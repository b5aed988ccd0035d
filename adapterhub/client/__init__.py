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
from adapterhub.client.client import Client
from adapterhub.client.requests import FormatKind, SamplingOptions
from adapterhub.settings import DEFAULT_ADDRESS

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
