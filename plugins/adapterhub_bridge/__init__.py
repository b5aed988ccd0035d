"""The plugin for what PEFT has and no plugin of its own serves."""

from adapterhub import hookimpl
from adapterhub.method import Register
from adapterhub_bridge.types import BRIDGED, REFUSED, VIRTUAL_TOKENS

__all__ = ["BRIDGED", "REFUSED", "VIRTUAL_TOKENS", "register_methods"]


@hookimpl
def register_methods(register: Register) -> None:
    for method in (*BRIDGED, *VIRTUAL_TOKENS):
        register(method)
    for refused in REFUSED:
        register(refused)
