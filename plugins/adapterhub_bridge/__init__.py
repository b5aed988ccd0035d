"""The plugin for what PEFT has and no plugin of its own serves."""

from adapterhub import hookimpl
from adapterhub.method import Register
from adapterhub_bridge.types import BRIDGED, REFUSED

__all__ = ["BRIDGED", "REFUSED", "register_methods"]


@hookimpl
def register_methods(register: Register) -> None:
    for method in BRIDGED:
        register(method)
    for refused in REFUSED:
        register(refused)
