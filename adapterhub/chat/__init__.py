"""A chat with adapters that take turns. Imports no torch; `EngineVoice` brings it."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from adapterhub.chat.conversation import Conversation, Exchange
from adapterhub.chat.screen import Screen
from adapterhub.chat.server_voice import ServerVoice
from adapterhub.chat.session import Session
from adapterhub.chat.voice import Piece, Voice

if TYPE_CHECKING:
    from adapterhub.chat.engine_voice import EngineVoice

__all__ = ["Conversation", "EngineVoice", "Exchange", "Piece", "Screen", "ServerVoice", "Session", "Voice"]

_HOMES = {"EngineVoice": "adapterhub.chat.engine_voice"}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(_HOMES[name]), name)
