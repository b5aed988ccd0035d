"""The gRPC clients. Import no torch."""

from adapterhub.client.aio_client import AioClient
from adapterhub.client.answers import (
    AdapterState,
    Choice,
    FinishReason,
    Generation,
    Piece,
    RouteChoice,
    ServedAdapter,
    ServerInfo,
    ServerLimits,
    Stats,
    Timings,
    TokenLogprobs,
    ToolCall,
    Usage,
)
from adapterhub.client.client import Client
from adapterhub.client.connection import Tls
from adapterhub.client.requests import Chat, FormatKind, Prompt, SamplingOptions, Tool, Turn
from adapterhub.client.routes import Route, RouteRule, RouteTarget
from adapterhub.settings import DEFAULT_ADDRESS
from adapterhub.structure import Structure

__all__ = [
    "DEFAULT_ADDRESS",
    "AdapterState",
    "AioClient",
    "Chat",
    "Choice",
    "Client",
    "FinishReason",
    "FormatKind",
    "Generation",
    "Piece",
    "Prompt",
    "Route",
    "RouteChoice",
    "RouteRule",
    "RouteTarget",
    "SamplingOptions",
    "ServedAdapter",
    "ServerInfo",
    "ServerLimits",
    "Stats",
    "Structure",
    "Timings",
    "Tls",
    "TokenLogprobs",
    "Tool",
    "ToolCall",
    "Turn",
    "Usage",
]
